//! A gateway over a real store, and a router as small as its contract allows, which remembers what it was asked.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use embermesh_auth::{ApiKey, Principal, Scopes};
use embermesh_errors::{Code, Error};
use embermesh_gateway::{Gateway, Parts, Settings};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{
        Failure, HealthReply, HealthRequest, ResolveReply, ResolveRequest, RouteItem, RouteReply,
        RouteRequest, router_server,
    },
    to_le_bytes, v1,
};
use embermesh_subscription::{KeyRecord, Snapshot, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{Endpoint, GrpcMetrics, InProcess, MAX_MESSAGE_BYTES, Transport, in_process};
use embermesh_types::ManualClock;
use embermesh_vector_store::VectorStore;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinHandle};
use tonic::{Response, Status};
use tower::ServiceExt;

pub const EMBED: &str = "/api/v1/embeddings";
pub const BATCH: &str = "/api/v1/embeddings/batch";
pub const OPENAI: &str = "/v1/embeddings";

/// Longer than the deadline of a request and all that comes after it.
pub const LONG_AFTER: Duration = Duration::from_secs(120);

/// Costs 20 nano-USD a text. One that begins with `fail` is too long for the model, with `busy` throttled, with `wait` made when the
/// gate opens; the agent `down` has no provider.
#[derive(Default)]
pub struct Provider {
    texts: Mutex<Vec<String>>,
    gate: Gate,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Provider {
    /// What was asked for, in order.
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap().clone()
    }

    /// Lets a call go on that waits, or the next that will.
    pub fn open(&self) {
        self.gate.0.add_permits(1);
    }

    /// When so many texts were asked for.
    pub async fn asked(&self, count: usize) {
        while self.texts().len() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn failure(error: &Error) -> RouteItem {
    RouteItem { failure: Some(Failure::from(error)), provider: "p".into(), ..Default::default() }
}

#[tonic::async_trait]
impl router_server::Router for Provider {
    async fn embed(&self, request: tonic::Request<RouteRequest>) -> Result<Response<RouteReply>, Status> {
        let request = request.into_inner();
        self.texts.lock().unwrap().extend(request.texts.clone());
        if request.texts.iter().any(|text| text.starts_with("wait")) {
            self.gate.0.acquire().await.unwrap().forget();
        }
        if request.agent_id == "down" {
            return Err(Error::unavailable("no provider can serve this").into());
        }
        let dimensions = if request.dimensions == 0 { 4 } else { request.dimensions };
        // another vector every time, as of a provider that rounds as it likes
        let turn = self.texts().len() as f32;
        let item = |(at, text): (usize, &String)| {
            if text.starts_with("fail") {
                return failure(&Error::new(Code::InputTooLong, "too long").with_param("texts"));
            }
            if text.starts_with("busy") {
                let error = Error::new(Code::RateLimited, "too much at once");
                return failure(&error.with_retry_after(Duration::from_secs(3)));
            }
            let vector: Vec<f32> =
                (0..dimensions).map(|n| 1.0 / (turn + n as f32 + at as f32 / 7.0)).collect();
            RouteItem {
                vector: to_le_bytes(&vector),
                tokens: 3,
                cost_nano_usd: 20,
                provider: "p".into(),
                ..Default::default()
            }
        };
        Ok(Response::new(RouteReply {
            model: "m".into(),
            space_id: format!("test/m@{dimensions}"),
            dimensions,
            items: request.texts.iter().enumerate().map(item).collect(),
            ..RouteReply::default()
        }))
    }

    async fn resolve(&self, _: tonic::Request<ResolveRequest>) -> Result<Response<ResolveReply>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn health(&self, _: tonic::Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        Ok(Response::new(HealthReply::default()))
    }
}

pub struct World {
    pub provider: Arc<Provider>,
    /// The store's.
    pub clock: ManualClock,
    /// Of the gateway, which dies when they are aborted.
    pub tasks: Tasks,
    store: Transport,
    app: Router,
    snapshot: Snapshot,
    keys: Vec<ApiKey>,
    _database: TestDatabase,
    /// Of everything but the gateway.
    outside: Tasks,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    pub status: StatusCode,
    pub body: String,
    /// The headers that tell of the answer.
    pub told: Vec<(String, String)>,
    pub retry_after: Option<String>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.told.len(), 4, "{self:?}");
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.json()["error"]["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        self
    }
}

fn principal(key: &ApiKey, tenant: u8, agent: Option<&str>) -> Principal {
    Principal {
        tenant: format!("0192d5a0-0000-7000-8000-00000000000{tenant}").parse().unwrap(),
        key: key.id().clone(),
        agent: agent.map(|agent| agent.parse().unwrap()),
        scopes: Scopes::parse(["embed", "read"]).unwrap(),
    }
}

impl World {
    pub async fn new() -> Self {
        let database = TestDatabase::create().await;
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_164_800));
        let outside = Tasks::new();
        let parts = embermesh_vector_store::Parts {
            replicas: Default::default(),
            database: database.url().clone(),
            redis: embermesh_config::Redis::default(),
            tasks: outside.clone(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: clock.clock(),
            tenants: embermesh_subscription::Subscription::unknown(),
        };
        let mut settings = embermesh_vector_store::Settings::default();
        // a hundred at once on a busy machine
        settings.pool.acquire_timeout = LONG_AFTER;
        settings.pool.connect_timeout = LONG_AFTER;
        let store = VectorStore::start(settings, parts).await.unwrap();
        let store = InProcess::new(GrpcMetrics::new(&Metrics::default()).unwrap())
            .service(store.store_server())
            .service(store.answers_server())
            .transport();
        // of two tenants, and of two agents of the first
        let keys: Vec<ApiKey> = (0..4).map(|_| ApiKey::generate("test", &mut rand::rng())).collect();
        let owners = [(1, None), (2, None), (1, Some("a")), (1, Some("b"))];
        let snapshot =
            keys.iter().zip(owners).fold(Snapshot::default(), |snapshot, (key, (tenant, agent))| {
                let principal = principal(key, tenant, agent);
                snapshot.with_key(KeyRecord {
                    hash: key.hash(),
                    principal,
                    expires_at: None,
                    revoked: false,
                    rotation_due: false,
                })
            });
        let large = v1::CatalogModel { id: "large".into(), native_dimensions: 4096, ..Default::default() };
        let small = v1::CatalogModel { id: "m".into(), native_dimensions: 1536, ..Default::default() };
        let snapshot = snapshot.with_model(large).with_model(small);
        let provider = Arc::<Provider>::default();
        let (app, tasks) = gateway(&provider, store.clone(), &snapshot).await;
        Self { provider, clock, tasks, store, app, snapshot, keys, _database: database, outside }
    }

    /// A new gateway in place of the old one, on the same store.
    pub async fn restart(&mut self) {
        (self.app, self.tasks) = gateway(&self.provider, self.store.clone(), &self.snapshot).await;
    }

    /// A gateway whose store nobody can reach.
    pub async fn lose_the_store(&mut self) {
        let port = embermesh_loopback::free_port().unwrap();
        let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let nowhere = endpoint.connect(None, &self.tasks).unwrap();
        (self.app, self.tasks) = gateway(&self.provider, nowhere, &self.snapshot).await;
    }

    pub fn app(&self) -> Router {
        self.app.clone()
    }

    pub fn key(&self, of: usize) -> &str {
        self.keys[of].reveal()
    }

    /// A request by one of the API keys, under an idempotency key or none.
    pub fn request(&self, of: usize, path: &str, key: &str, body: &Value) -> Request<Body> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("x-api-key", self.key(of))
            .header("content-type", "application/json");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        request.body(body.to_string().into()).unwrap()
    }

    pub async fn send_as(&self, of: usize, path: &str, key: &str, body: &Value) -> Got {
        send(self.app(), self.request(of, path, key, body)).await
    }

    /// A client of its own, which goes away when it is aborted.
    pub fn spawn(&self, path: &str, key: &str, body: &Value) -> JoinHandle<Option<Got>> {
        self.outside.spawn("client", send(self.app(), self.request(0, path, key, body)))
    }

    pub async fn send(&self, path: &str, key: &str, body: &Value) -> Got {
        self.send_as(0, path, key, body).await
    }
}

async fn gateway(provider: &Arc<Provider>, store: Transport, snapshot: &Snapshot) -> (Router, Tasks) {
    let (tasks, metrics) = (Tasks::new(), Metrics::default());
    let grpc_metrics = GrpcMetrics::new(&metrics).unwrap();
    let router = router_server::RouterServer::from_arc(provider.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let router = in_process(router, &grpc_metrics);
    let parts = Parts {
        router: router.clone(),
        store,
        ledger: router.clone(),
        admin: router,
        subscription: Subscription::fixed(snapshot.clone()),
        tasks: tasks.clone(),
        readiness: Readiness::default(),
        metrics,
        grpc_metrics,
        clock: ManualClock::new(SystemTime::UNIX_EPOCH).clock(),
    };
    (Gateway::start(&Settings::default(), parts).await.unwrap().app(), tasks)
}

pub async fn send(app: Router, request: Request<Body>) -> Got {
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let text = |headers: &HeaderMap, name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let told = ["space", "provider", "cached", "cost-usd"].into_iter().filter_map(|name| {
        let name = format!("x-embermesh-{name}");
        text(&parts.headers, &name).map(|value| (name, value))
    });
    Got { status: parts.status, body, told: told.collect(), retry_after: text(&parts.headers, "retry-after") }
}
