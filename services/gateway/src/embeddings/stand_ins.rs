//! A router and a store that are as small as their contracts allow: deterministic, remembering what they saw. Tests only; the
//! flow over the real ones is tested in `integration-tests`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_auth::{Principal, Scopes};
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_pii::{Action, Policy};
use embermesh_proto::{
    from_le_bytes,
    internal::v1::{
        router_server::{Router, RouterServer},
        store_server::{Store, StoreServer},
        *,
    },
    to_le_bytes,
};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, MAX_MESSAGE_BYTES, in_process};
use embermesh_types::TenantId;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{Costs, EmbeddingLimits, EmbeddingParts};
use crate::scrub::Scrubbing;

pub(crate) const DIMENSIONS: u32 = 4;

/// What a text becomes; different texts differ.
pub(crate) fn vector_of(text: &str, dimensions: u32) -> Vec<f32> {
    let mut bytes = vec![0; dimensions as usize];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into_iter().map(|byte| (f32::from(byte) + 0.5) / 256.0).collect()
}

#[derive(Default)]
pub(crate) struct RouterStandIn {
    /// Whether it tells nothing of its providers.
    pub is_silent: AtomicBool,
    pub seen: Mutex<Vec<RouteRequest>>,
}

impl RouterStandIn {
    pub fn texts(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().flat_map(|request| request.texts.clone()).collect()
    }
}

/// What the model takes of a text that begins with `long`, in bytes, each of which is a token.
pub(crate) const LIMIT: usize = 10;

/// How a text over the limit is cut; not inside a character.
fn cut(text: &str, action: &str, dimensions: u32) -> Option<Cut> {
    let most = if action == "truncate" { 1 } else { usize::MAX };
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < text.len() && pieces.len() < most {
        let end = text.floor_char_boundary((start + LIMIT).min(text.len()));
        pieces.push(Piece {
            start: start as u64,
            end: end as u64,
            vector: to_le_bytes(&vector_of(&text[start..end], dimensions)),
            tokens: (end - start) as u64,
            cost_nano_usd: 2 * (end - start) as i64,
            cached: false,
        });
        start = end;
    }
    let (tokens, limit) = (text.len() as u64, LIMIT as u64);
    let is_cut = text.starts_with("long") && text.len() > LIMIT;
    is_cut.then(|| Cut { action: action.to_owned(), tokens, tokens_exact: true, limit, pieces })
}

/// `fail…` is a text that fails, `hit…` one that is known, `long…` one with a limit, `slow…` one that is throttled; the agents `down`
/// and `throttled` and the models `short` and `absent` fail whole calls, the agent `elsewhere` has a fallback model.
#[tonic::async_trait]
impl Router for RouterStandIn {
    async fn embed(&self, request: Request<RouteRequest>) -> Result<Response<RouteReply>, Status> {
        CallContext::of(&request)?;
        let request = request.into_inner();
        self.seen.lock().unwrap().push(request.clone());
        if request.agent_id == "down" || request.model == "absent" {
            return Err(Error::unavailable("no provider can serve this").into());
        }
        let throttled = || {
            let error = Error::new(Code::RateLimited, "the agent has used up its requests of this minute");
            error.with_retry_after(Duration::from_millis(2500))
        };
        if request.agent_id == "throttled" {
            return Err(throttled().into());
        }
        let is_elsewhere = request.agent_id == "elsewhere" && !request.stay_in_space;
        let model = match request.model.as_str() {
            "" if is_elsewhere => "fallback".to_owned(),
            "" => "pinned".to_owned(),
            asked => asked.to_owned(),
        };
        let dimensions = if request.dimensions == 0 { DIMENSIONS } else { request.dimensions };
        let item = |text: &String| {
            let refused =
                cut(text, &request.on_too_long, dimensions).is_some() && request.on_too_long == "error";
            let mut failure = (text.starts_with("fail") || refused).then(|| Failure {
                code: "input_too_long".into(),
                message: "text has 9000 tokens, the model takes 256".into(),
                param: "texts".into(),
                details: r#"{"tokens":9000}"#.into(),
                retry_after_ms: 0,
            });
            if text.starts_with("slow") {
                let error = throttled();
                failure = Some(Failure {
                    code: error.code.as_str().into(),
                    message: error.message,
                    retry_after_ms: 2500,
                    ..Default::default()
                });
            }
            if let (None, Some(cut)) = (&failure, cut(text, &request.on_too_long, dimensions)) {
                return RouteItem {
                    // of the beginning, or of no text in particular
                    vector: cut.pieces[0].vector.clone(),
                    tokens: cut.pieces.iter().map(|piece| piece.tokens).sum(),
                    cost_nano_usd: cut.pieces.iter().map(|piece| piece.cost_nano_usd).sum(),
                    provider: "stand-in".into(),
                    cut: Some(cut),
                    ..Default::default()
                };
            }
            RouteItem {
                vector: if failure.is_some() {
                    Default::default()
                } else {
                    to_le_bytes(&vector_of(text, dimensions))
                },
                tokens: 3,
                cost_nano_usd: if text.starts_with("hit") { 0 } else { 20 },
                cached: text.starts_with("hit"),
                provider: "stand-in".into(),
                failure,
                cut: None,
            }
        };
        let mut items: Vec<_> = request.texts.iter().map(item).collect();
        if model == "short" {
            items.pop();
        }
        Ok(Response::new(RouteReply {
            space_id: format!("test/{model}@{dimensions}"),
            model,
            dimensions,
            items,
            instead_of: if is_elsewhere { "test/own@7".to_owned() } else { String::new() },
            at_providers_us: 0,
        }))
    }

    async fn resolve(&self, _: Request<ResolveRequest>) -> Result<Response<ResolveReply>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(Status::unavailable("connection refused"));
        }
        let of = DeploymentHealth {
            provider: "stand-in".into(),
            deployment: "stand-in".into(),
            status: "healthy".into(),
            breaker: "closed".into(),
            ..Default::default()
        };
        Ok(Response::new(HealthReply { deployments: vec![of] }))
    }
}

#[derive(Default)]
pub(crate) struct StoreStandIn {
    pub puts: Mutex<Vec<PutRequest>>,
    pub searches: Mutex<Vec<StoreSearchRequest>>,
    pub deletes: Mutex<Vec<StoreDeleteRequest>>,
    pub is_down: Mutex<bool>,
    rows: Mutex<Vec<StoreRow>>,
}

impl StoreStandIn {
    fn check(&self) -> Result<(), Status> {
        if *self.is_down.lock().unwrap() { Err(Status::unavailable("connection refused")) } else { Ok(()) }
    }

    pub fn rows(&self) -> Vec<StoreRow> {
        self.rows.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Store for StoreStandIn {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutReply>, Status> {
        self.check()?;
        let put = request.into_inner();
        self.puts.lock().unwrap().push(put.clone());
        let mut rows = self.rows.lock().unwrap();
        let results = put.rows.into_iter().map(|new| {
            let embedding_id = Uuid::now_v7().to_string();
            rows.push(StoreRow {
                embedding_id: embedding_id.clone(),
                agent_id: new.agent_id,
                context_id: new.context_id,
                content: new.content,
                metadata: new.metadata,
                model: new.model,
                provider: new.provider,
                space_id: put.space_id.clone(),
                dimensions: put.dimensions,
                tokens: new.tokens,
                cost_nano_usd: new.cost_nano_usd,
                vector: new.vector,
                ..Default::default()
            });
            PutResult { embedding_id, deduplicated: false, created_at: None }
        });
        let write_token = format!("w1-{:024x}{:016x}", 1, self.puts.lock().unwrap().len());
        Ok(Response::new(PutReply { results: results.collect(), write_token }))
    }

    type PutStreamStream = futures::stream::Empty<Result<PutReply, Status>>;

    async fn put_stream(
        &self,
        _: Request<Streaming<PutRequest>>,
    ) -> Result<Response<Self::PutStreamStream>, Status> {
        Err(Error::new(Code::NotImplemented, "the gateway puts no streams").into())
    }

    async fn search(
        &self,
        request: Request<StoreSearchRequest>,
    ) -> Result<Response<StoreSearchReply>, Status> {
        self.check()?;
        let search = request.into_inner();
        let query = from_le_bytes(&search.query).unwrap();
        let similarity = |row: &StoreRow| {
            let vector = from_le_bytes(&row.vector).unwrap();
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
            };
            dot(&query, &vector) / (dot(&query, &query) * dot(&vector, &vector)).sqrt()
        };
        let rows = self.rows().into_iter().filter(|row| row.space_id == search.space_id);
        let mut hits: Vec<_> = rows
            .map(|row| {
                let similarity = similarity(&row);
                // a score that is no similarity, where words were searched too
                let score = if search.text.is_some() { similarity / 60.0 } else { similarity };
                StoreHit { similarity, score, row: Some(row) }
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(search.limit as usize);
        self.searches.lock().unwrap().push(search);
        let truncated = "fewer rows match".to_owned();
        let other_spaces = vec!["test/other@8".to_owned()];
        Ok(Response::new(StoreSearchReply { hits, scan: "exact".into(), truncated, other_spaces }))
    }

    async fn find_spaces(
        &self,
        request: Request<FindSpacesRequest>,
    ) -> Result<Response<FindSpacesReply>, Status> {
        self.check()?;
        let agent = request.into_inner().filter.unwrap_or_default().agent_id;
        let rows = self.rows().into_iter().filter(|row| agent.is_empty() || row.agent_id == agent);
        let mut space_ids: Vec<String> = rows.map(|row| row.space_id).collect();
        space_ids.sort();
        space_ids.dedup();
        Ok(Response::new(FindSpacesReply { space_ids }))
    }

    async fn get(&self, request: Request<StoreGetRequest>) -> Result<Response<StoreRow>, Status> {
        self.check()?;
        let get = request.into_inner();
        let row = self.rows().into_iter().find(|row| row.embedding_id == get.embedding_id);
        let mut row = row.ok_or_else(|| Error::not_found("no embedding has this id"))?;
        if !get.return_vector {
            row.vector.clear();
        }
        Ok(Response::new(row))
    }

    async fn list(&self, request: Request<StoreListRequest>) -> Result<Response<StoreListReply>, Status> {
        let agent = request.into_inner().filter.unwrap_or_default().agent_id;
        let rows = self.rows().into_iter().filter(|row| agent.is_empty() || row.agent_id == agent).collect();
        Ok(Response::new(StoreListReply { rows, next_page_token: String::new() }))
    }

    async fn delete(
        &self,
        request: Request<StoreDeleteRequest>,
    ) -> Result<Response<StoreDeleteReply>, Status> {
        let delete = request.into_inner();
        let filter = delete.filter.clone().unwrap_or_default();
        let matching = self.rows().into_iter().filter(|row| {
            (filter.agent_id.is_empty() || row.agent_id == filter.agent_id)
                && (filter.embedding_ids.is_empty() || filter.embedding_ids.contains(&row.embedding_id))
        });
        let count = matching.count() as u64;
        self.deletes.lock().unwrap().push(delete);
        Ok(Response::new(StoreDeleteReply { count, write_token: String::new() }))
    }
}

/// The parts over stand-ins, and the stand-ins.
pub(crate) struct Bench {
    pub parts: EmbeddingParts,
    pub router: Arc<RouterStandIn>,
    pub store: Arc<StoreStandIn>,
    pub metrics: Metrics,
}

pub(crate) fn tenant() -> TenantId {
    "0192d5a0-0000-7000-8000-000000000001".parse().unwrap()
}

/// A key that is bound to `agent`, or to none.
pub(crate) fn context(agent: Option<&str>) -> CallContext {
    CallContext {
        principal: Principal {
            tenant: tenant(),
            key: "k1".parse().unwrap(),
            agent: agent.map(|agent| agent.parse().unwrap()),
            scopes: Scopes::parse(["embed", "search", "read"]).unwrap(),
        },
        request_id: "req-1".parse().unwrap(),
        deadline: None,
    }
}

impl Bench {
    pub fn new(snapshot: Snapshot) -> Self {
        let metrics = Metrics::default();
        let grpc = GrpcMetrics::new(&metrics).unwrap();
        let router = Arc::new(RouterStandIn::default());
        let store = Arc::new(StoreStandIn::default());
        let parts = EmbeddingParts {
            router: in_process(
                RouterServer::from_arc(router.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
                &grpc,
            ),
            store: in_process(
                StoreServer::from_arc(store.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
                &grpc,
            ),
            subscription: Subscription::fixed(snapshot),
            scrubbing: Arc::new(Scrubbing::new(Policy::built_in(Action::Redact), &metrics).unwrap()),
            costs: Costs::new(&metrics).unwrap(),
            limits: EmbeddingLimits { max_text_bytes: 1000, max_total_bytes: 4000, max_metadata_bytes: 200 },
            tasks: Tasks::new(),
        };
        Self { parts, router, store, metrics }
    }
}
