//! An edge whose embeddings service answers what it was asked, and whose other services answer who asked.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use axum::{Json, Router, body::Body, response::IntoResponse};
use embermesh_auth::{ApiKey, Principal, Scopes};
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_pii::{Action, Policy};
use embermesh_process::DebugHandler;
use embermesh_proto::v1::{self, agents_server, agents_server::AgentsServer, embeddings_server};
use embermesh_subscription::{KeyRecord, Snapshot, Subscription, TenantEntry};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, HttpLimits, Ops, in_process, serve};
use embermesh_types::ManualClock;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Response, Status, async_trait};
use tower::ServiceExt;

use super::router_operations;
use crate::{
    Settings,
    backends::Upstreams,
    cache::Cache,
    debug::Debugger,
    edge::{EdgeParts, router},
    embeddings::{Costs, EmbeddingParts, IdempotencyKey},
    migrations::Migrations,
    openai::{Admitted, OpenAi},
    read_your_writes::ReadYourWrites,
    scrub::Scrubbing,
};

pub const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

/// Answers in `metadata` what it was asked, by whom.
#[derive(Debug, Default)]
struct Echo;

fn asked<T: serde::Serialize>(request: &tonic::Request<T>) -> Result<String, Status> {
    let context = request.extensions().get::<CallContext>().ok_or_else(|| Status::internal("no context"))?;
    let key = request.extensions().get::<IdempotencyKey>();
    Ok(json!({
        "tenant": context.principal.tenant.to_string(),
        "key": context.principal.key.as_str(),
        "request_id": context.request_id.as_str(),
        "idempotency_key": key.map(|key| key.0.as_str()),
        "message": request.get_ref(),
    })
    .to_string())
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl embeddings_server::Embeddings for Echo {
    async fn embed(&self, request: tonic::Request<v1::EmbedRequest>) -> Answer<v1::EmbedResponse> {
        let metadata = asked(&request)?;
        match request.get_ref().text.as_str() {
            "panic" => panic!("as asked"),
            "never" => std::future::pending().await,
            "limited" => {
                let wait = std::time::Duration::from_millis(1500);
                return Err(Error::new(Code::RateLimited, "slower").with_retry_after(wait).into());
            }
            "foreign" => return Err(Status::unavailable("tcp connect to 10.1.2.3 failed")),
            _ => {}
        }
        let mut response =
            Response::new(v1::EmbedResponse { metadata, embedding: vec![0.1, -1.0], ..Default::default() });
        for (name, value) in
            [("x-embermesh-space", "local/m@2"), ("x-embermesh-cached", "0/1"), ("x-other", "no")]
        {
            response.metadata_mut().insert(name, value.parse().unwrap());
        }
        Ok(response)
    }

    async fn embed_batch(
        &self,
        request: tonic::Request<v1::EmbedBatchRequest>,
    ) -> Answer<v1::EmbedBatchResponse> {
        let count = u32::try_from(request.get_ref().requests.len()).unwrap();
        Ok(Response::new(v1::EmbedBatchResponse { count, ..Default::default() }))
    }

    async fn search(&self, _: tonic::Request<v1::SearchRequest>) -> Answer<v1::SearchResponse> {
        Ok(Response::new(v1::SearchResponse::default()))
    }

    async fn search_cross_model(
        &self,
        _: tonic::Request<v1::CrossModelSearchRequest>,
    ) -> Answer<v1::CrossModelSearchResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn get_embedding(
        &self,
        request: tonic::Request<v1::GetEmbeddingRequest>,
    ) -> Answer<v1::StoredEmbedding> {
        Ok(Response::new(v1::StoredEmbedding { metadata: asked(&request)?, ..Default::default() }))
    }

    async fn list_embeddings(
        &self,
        request: tonic::Request<v1::ListEmbeddingsRequest>,
    ) -> Answer<v1::ListEmbeddingsResponse> {
        let row = v1::StoredEmbedding { metadata: asked(&request)?, ..Default::default() };
        Ok(Response::new(v1::ListEmbeddingsResponse { embeddings: vec![row], next_page_token: None }))
    }

    async fn delete_embedding(
        &self,
        _: tonic::Request<v1::DeleteEmbeddingRequest>,
    ) -> Answer<v1::DeleteEmbeddingResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn delete_embeddings(
        &self,
        _: tonic::Request<v1::DeleteEmbeddingsRequest>,
    ) -> Answer<v1::DeleteEmbeddingsResponse> {
        Ok(Response::new(Default::default()))
    }
}

/// A service of another process: answers in `metadata` the context that reached it, and which headers.
#[derive(Debug)]
struct Remote;

fn reached<T>(request: &tonic::Request<T>) -> Result<String, Status> {
    let context = CallContext::of(request)?;
    let headers = request.metadata().as_ref();
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    Ok(json!({
        "tenant": context.principal.tenant.to_string(),
        "key": context.principal.key.as_str(),
        "agent": context.principal.agent.as_ref().map(|agent| agent.as_str()),
        "scopes": context.principal.scopes.to_string(),
        "request_id": context.request_id.as_str(),
        "timeout": context.time_left().is_some(),
        "headers": names,
    })
    .to_string())
}

#[async_trait]
impl agents_server::Agents for Remote {
    async fn create_agent(&self, request: tonic::Request<v1::AgentInput>) -> Answer<v1::Agent> {
        self.put_agent(request).await
    }

    async fn put_agent(&self, request: tonic::Request<v1::AgentInput>) -> Answer<v1::Agent> {
        let metadata = reached(&request)?;
        let agent_id = request.into_inner().agent_id;
        if agent_id == "taken" {
            return Err(Error::new(Code::Conflict, "the agent exists").with_detail("version", 3).into());
        }
        Ok(Response::new(v1::Agent { agent_id, metadata, ..Default::default() }))
    }

    async fn get_agent(&self, request: tonic::Request<v1::GetAgentRequest>) -> Answer<v1::Agent> {
        let metadata = reached(&request)?;
        Ok(Response::new(v1::Agent {
            agent_id: request.into_inner().agent_id,
            metadata,
            ..Default::default()
        }))
    }

    async fn list_agents(&self, _: tonic::Request<v1::ListAgentsRequest>) -> Answer<v1::ListAgentsResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn delete_agent(
        &self,
        _: tonic::Request<v1::DeleteAgentRequest>,
    ) -> Answer<v1::DeleteAgentResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn list_agent_versions(
        &self,
        _: tonic::Request<v1::ListAgentVersionsRequest>,
    ) -> Answer<v1::ListAgentVersionsResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn rollback_agent(&self, request: tonic::Request<v1::RollbackAgentRequest>) -> Answer<v1::Agent> {
        let metadata = reached(&request)?;
        let agent_id = request.into_inner().agent_id;
        Ok(Response::new(v1::Agent { agent_id, metadata, ..Default::default() }))
    }

    async fn get_agent_models(
        &self,
        _: tonic::Request<v1::GetAgentModelsRequest>,
    ) -> Answer<v1::AgentModels> {
        Ok(Response::new(Default::default()))
    }
}

/// An edge, and a key for each set of scopes that was asked for.
pub struct TestEdge {
    pub app: Router,
    pub metrics: Metrics,
    pub tasks: Tasks,
    pub keys: Vec<ApiKey>,
}

/// What a client got.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error, after checking that it has the one shape.
    pub fn error(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let body = self.json();
        let error = &body["error"];
        let members: BTreeSet<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["code", "message", "type", "param", "request_id", "details"];
        assert_eq!(members, BTreeSet::from(expected), "{self:?}");
        assert_eq!(error["request_id"], self.header("x-request-id"), "{self:?}");
        error.clone()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestEdge {
    /// With one key that may do everything.
    pub async fn start() -> Self {
        Self::with(Settings::default(), &[&["admin"]]).await
    }

    /// With keys of the operator's tenant.
    pub async fn with(settings: Settings, scopes: &[&[&str]]) -> Self {
        let operator = TenantEntry { operator: true, ..TenantEntry::default() };
        Self::of(operator, settings, scopes).await
    }

    /// With keys of a tenant in this state.
    pub async fn of(tenant: TenantEntry, settings: Settings, scopes: &[&[&str]]) -> Self {
        let keys: Vec<ApiKey> = scopes.iter().map(|_| ApiKey::generate("test", &mut rand::rng())).collect();
        let tenant = TenantEntry { tenant_id: TENANT.to_owned(), ..tenant };
        let known = Snapshot::default().with_tenant(tenant);
        let snapshot = keys.iter().zip(scopes).fold(known, |snapshot, (key, scopes)| {
            let principal = Principal {
                tenant: TENANT.parse().unwrap(),
                key: key.id().clone(),
                agent: None,
                scopes: Scopes::parse(scopes.iter().copied()).unwrap(),
            };
            snapshot.with_key(KeyRecord {
                hash: key.hash(),
                principal,
                expires_at: None,
                revoked: false,
                rotation_due: false,
            })
        });
        let (metrics, tasks) = (Metrics::default(), Tasks::new());
        let grpc_metrics = GrpcMetrics::new(&metrics).unwrap();
        let remote = in_process(AgentsServer::new(Remote), &grpc_metrics);
        let openai = OpenAi {
            embeddings: Box::new(|Admitted { context, .. }| {
                let answer = Json(json!({"key": context.principal.key.as_str()}));
                Box::pin(async { Ok(answer.into_response()) })
            }),
            lookups: Router::new().route("/v1/models", axum::routing::get(|| async {})),
        };
        let subscription = Subscription::fixed(snapshot);
        let admin = ReadYourWrites::new(remote.clone(), subscription.clone());
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH).clock();
        let parts = EdgeParts {
            embeddings: Arc::new(Echo),
            openai,
            cache: Arc::new(Cache {
                admin: remote.clone(),
                store: remote.clone(),
                subscription: subscription.clone(),
            }),
            migrations: Arc::new(Migrations::new(
                EmbeddingParts {
                    router: remote.clone(),
                    store: remote.clone(),
                    subscription: subscription.clone(),
                    scrubbing: Arc::new(Scrubbing::new(Policy::built_in(Action::Redact), &metrics).unwrap()),
                    costs: Costs::new(&metrics).unwrap(),
                    limits: settings.limits,
                    tasks: tasks.clone(),
                },
                remote.clone(),
                clock.clone(),
            )),
            upstreams: Upstreams {
                admin,
                ledger: remote.clone(),
                router: router_operations::router(&grpc_metrics),
                store: remote.clone(),
                debug: Arc::new(Debugger {
                    own: DebugHandler::new(tasks.clone()),
                    others: ["provider-router", "cost-ledger", "vector-store", "admin"]
                        .map(|name| (name, remote.clone())),
                }),
            },
            subscription,
            key_uses: crate::key_use::KeyUse::new(&clock),
            api_calls: crate::api_calls::ApiCalls::off(),
            tasks: tasks.clone(),
            ops: Ops { readiness: Readiness::default(), metrics: metrics.clone() },
            grpc_metrics,
            clock,
        };
        Self { app: router(&settings, parts).await.unwrap(), metrics, tasks, keys }
    }

    /// A request with the first key.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header("x-api-key", self.keys[0].reveal())
    }

    pub async fn send(&self, request: Request<Body>) -> Got {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Got { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Got {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Served on a port of loopback until the tasks stop.
    pub async fn listen(&self) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = serve(listener, self.app.clone(), None, HttpLimits::default(), self.tasks.clone());
        self.tasks.spawn("serve", serving);
        address
    }
}

/// What the stand-ins tell in `metadata`.
pub fn told(metadata: &str) -> Value {
    serde_json::from_str(metadata).unwrap()
}
