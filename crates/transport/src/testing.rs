//! What the tests of this crate share: a real service that misbehaves on request, served on a real port or in this process.

use std::{
    collections::BTreeSet,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use embermesh_auth::{Principal, Scopes};
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    ConfigUpdate, Epoch, GetEpochRequest, HealthReply, HealthRequest, MovePinsReply, MovePinsRequest,
    OrderBreakersReply, OrderBreakersRequest, OrderCacheReply, OrderCacheRequest, Pin as SpacePin,
    PinSpaceRequest, Reference, ResolveReply, ResolveRequest, RouteItem, RouteReply, RouteRequest,
    SubscribeRequest,
    config_server::{Config, ConfigServer},
    router_client::RouterClient,
    router_server::{Router, RouterServer},
};
use embermesh_telemetry::Metrics;
use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::{Request, Response, Status};

use crate::{
    CallContext, Endpoint, GrpcMetrics, HttpLimits, InProcess, MAX_MESSAGE_BYTES, ServerBuilder, TlsSettings,
    Transport, serve,
};

/// Does what `agent_id` says, and tells what has happened to it.
#[derive(Clone, Default)]
pub(crate) struct Handler {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) dropped: Arc<AtomicUsize>,
    /// Lets calls to `wait` go on.
    pub(crate) gate: Arc<Gate>,
}

pub(crate) struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.add_permits(1_000);
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Router for Handler {
    async fn embed(&self, request: Request<RouteRequest>) -> Result<Response<RouteReply>, Status> {
        let _counted = CountDrop(Arc::clone(&self.dropped));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut reply = RouteReply::default();
        match request.get_ref().agent_id.as_str() {
            "hang" => pending().await,
            "panic" => panic!("on request"),
            "refuse" => return Err(refusal().into()),
            "wait" => drop(self.gate.0.acquire().await.unwrap()),
            "who" => reply.model = format!("{:?}", without_deadline(&CallContext::of(&request)?)),
            // as many bytes as the texts have, and as many again as dimensions
            "weigh" => {
                let message = request.get_ref();
                reply.dimensions =
                    u32::try_from(message.texts.iter().map(String::len).sum::<usize>()).unwrap();
                let vector = vec![7; message.dimensions as usize];
                reply.items = vec![RouteItem { vector: vector.into(), ..RouteItem::default() }];
            }
            _ => {}
        }
        Ok(Response::new(reply))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        Ok(Response::new(HealthReply::default()))
    }

    async fn resolve(&self, _: Request<ResolveRequest>) -> Result<Response<ResolveReply>, Status> {
        Ok(Response::new(ResolveReply::default()))
    }
}

#[tonic::async_trait]
impl Config for Handler {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<ConfigUpdate, Status>> + Send>>;

    /// Two updates, the second after an hour or when the gate is open.
    async fn subscribe(
        &self,
        _: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (counted, gate) = (CountDrop(Arc::clone(&self.dropped)), Arc::clone(&self.gate));
        let second = async move {
            let _counted = counted;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(3600)) => {}
                _ = gate.0.acquire() => {}
            }
            Ok(ConfigUpdate { version: 2, ..ConfigUpdate::default() })
        };
        let first = Ok(ConfigUpdate { version: 1, ..ConfigUpdate::default() });
        Ok(Response::new(stream::iter([first]).chain(stream::once(second)).boxed()))
    }

    async fn get_epoch(&self, _: Request<GetEpochRequest>) -> Result<Response<Epoch>, Status> {
        Ok(Response::new(Epoch { version: 1, last_version: 1 }))
    }

    async fn pin_space(&self, _: Request<PinSpaceRequest>) -> Result<Response<SpacePin>, Status> {
        Err(Error::not_found("no such agent").into())
    }

    async fn move_pins(&self, _: Request<MovePinsRequest>) -> Result<Response<MovePinsReply>, Status> {
        Err(Error::not_found("no such pin").into())
    }

    async fn record_reference(&self, _: Request<Reference>) -> Result<Response<Reference>, Status> {
        Err(Error::not_found("no such space").into())
    }

    async fn order_breakers(
        &self,
        _: Request<OrderBreakersRequest>,
    ) -> Result<Response<OrderBreakersReply>, Status> {
        Err(Error::not_found("no such deployment").into())
    }

    async fn order_cache(&self, _: Request<OrderCacheRequest>) -> Result<Response<OrderCacheReply>, Status> {
        Err(Error::not_found("no such tenant").into())
    }
}

/// What `refuse` answers.
pub(crate) fn refusal() -> Error {
    Error::new(Code::BudgetExceeded, "the budget is spent")
        .with_param("agent_id")
        .with_detail("limit_nano_usd", 7)
        .with_retry_after(Duration::from_millis(1500))
}

pub(crate) fn without_deadline(context: &CallContext) -> CallContext {
    CallContext { deadline: None, ..context.clone() }
}

pub(crate) fn context() -> CallContext {
    CallContext {
        principal: Principal {
            tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
            key: "abc".parse().unwrap(),
            agent: Some("docs".parse().unwrap()),
            scopes: Scopes::parse(["embed", "read"]).unwrap(),
        },
        request_id: "r-1".parse().unwrap(),
        deadline: None,
    }
}

/// A request that makes the handler do `what`.
pub(crate) fn ask(what: &str) -> RouteRequest {
    RouteRequest { agent_id: what.to_owned(), ..RouteRequest::default() }
}

pub(crate) fn router(transport: &Transport) -> RouterClient<Transport> {
    RouterClient::new(transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// One call in the one error form.
pub(crate) async fn call(transport: &Transport, what: &str) -> Result<RouteReply, Error> {
    let answer = router(transport).embed(context().request(ask(what))).await;
    answer.map(Response::into_inner).map_err(Error::from)
}

/// Repeats until the condition holds, and gives up long after it should.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(mut holds: F) {
    let repeat = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), repeat).await.expect("what is waited for happens");
}

/// One handler behind one path to it.
pub(crate) struct World {
    pub(crate) path: &'static str,
    pub(crate) transport: Transport,
    pub(crate) handler: Handler,
    pub(crate) metrics: Metrics,
}

impl World {
    pub(crate) fn in_process() -> Self {
        let (handler, metrics) = (Handler::default(), Metrics::default());
        let transport = InProcess::new(GrpcMetrics::new(&metrics).unwrap())
            .service(router_server(&handler))
            .service(ConfigServer::new(handler.clone()))
            .transport();
        Self { path: "in process", transport, handler, metrics }
    }

    pub(crate) async fn remote() -> Self {
        let server = Server::start().await;
        let transport = server.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
        Self { path: "remote", transport, handler: server.handler, metrics: server.metrics }
    }

    pub(crate) async fn both() -> [Self; 2] {
        [Self::in_process(), Self::remote().await]
    }
}

fn router_server(handler: &Handler) -> RouterServer<Handler> {
    RouterServer::new(handler.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// The handler on a port of this machine.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) handler: Handler,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None, HttpLimits::default()).await
    }

    pub(crate) async fn at(address: SocketAddr, tls: Option<&TlsSettings>, limits: HttpLimits) -> Self {
        let (handler, metrics, tasks) = (Handler::default(), Metrics::default(), Tasks::new());
        let router = ServerBuilder::new(GrpcMetrics::new(&metrics).unwrap())
            .service(router_server(&handler))
            .service(ConfigServer::new(handler.clone()))
            .router(embermesh_proto::DESCRIPTORS)
            .await
            .unwrap()
            .route("/hello", axum::routing::get(async || "hello"));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = tls.and_then(|tls| tls.acceptor().unwrap());
        tasks.spawn("accept", serve(listener, router, tls, limits, tasks.clone()));
        Self { address, handler, metrics, tasks }
    }

    pub(crate) fn endpoint(&self, scheme: &str, host: &str) -> Endpoint {
        Endpoint::parse(&format!("{scheme}://{host}:{}", self.address.port())).unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.handler.begun.load(Ordering::SeqCst)
    }

    /// Cuts every connection, as a crash would.
    pub(crate) async fn crash(&self) {
        self.tasks.abort();
        self.tasks.finished().await;
    }
}

/// A transport to exactly these servers.
pub(crate) fn balanced(servers: &[&Server]) -> Transport {
    let addresses: BTreeSet<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    endpoint.connect_to(stream::iter([Ok(addresses)]), None, &Tasks::new()).unwrap()
}
