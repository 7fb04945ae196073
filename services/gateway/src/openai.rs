//! The OpenAI-compatible edge: the one hand-written set of routes, byte-compatible with OpenAI's SDKs. Stores nothing. It is the
//! hot path: texts are borrowed from the body until they are scrubbed, vectors stay bytes until they are written.

mod encode;
mod float_texts;
mod input;
mod keyed;
mod models;
mod request;
mod scalar;

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request, State},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use embermesh_errors::Error;
use embermesh_telemetry::Span;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, RequestId};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use crate::{
    embeddings::{
        EmbeddingParts, IdempotencyKey, InputType, Item, OnTooLong, Route, Summary, about, check_text,
        check_total, fields,
    },
    http::{Failure, context},
    scrub::{AgentScrubber, Tally},
};
use encode::Encoding;
use float_texts::FloatTexts;
use request::EmbeddingsRequest;

const AGENT_ID: HeaderName = HeaderName::from_static("x-agent-id");
/// Room for those of an answer, those of the edge included.
const HEADERS: usize = 12;
/// Leaves the choice of the model to the agent's configuration.
const AUTO: &str = "auto";

/// Where texts are sent.
pub(crate) const EMBEDDINGS: &str = "/v1/embeddings";

#[derive(Debug)]
struct Edge(EmbeddingParts, FloatTexts);

/// A request for embeddings that has been let in, and whose body has come.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Who asks, as which request, until when.
    pub context: CallContext,
    /// Under which the answer is kept.
    pub key: Option<IdempotencyKey>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers [`EMBEDDINGS`].
pub(crate) type EmbeddingsHandler =
    Box<dyn Fn(Admitted) -> BoxFuture<'static, Result<Response, Error>> + Send + Sync>;

/// What OpenAI's SDKs find here.
pub(crate) struct OpenAi {
    pub embeddings: EmbeddingsHandler,
    /// The routes that tell of models. Whoever mounts them authenticates, limits the body, and leaves the [`CallContext`] beside the
    /// request.
    pub lookups: Router,
}

impl OpenAi {
    /// Over what the embeddings service stands on.
    pub fn new(parts: EmbeddingParts) -> Self {
        let edge = Arc::new(Edge(parts, FloatTexts::new()));
        let lookups = Router::new()
            .route("/v1/models", get(list_models))
            // ids may hold a slash, which SDKs do not escape
            .route("/v1/models/{*id}", get(one_model))
            .with_state(Arc::clone(&edge));
        let embeddings = Box::new(move |request: Admitted| -> BoxFuture<'static, _> {
            let edge = Arc::clone(&edge);
            Box::pin(async move {
                let Admitted { context, key, headers, body } = request;
                edge.embed(&context, key.as_ref().map(|key| &key.0), &headers, &body).await
            })
        });
        Self { embeddings, lookups }
    }
}

async fn list_models(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Failure> {
    let tenant = context(request.extensions())?.principal.tenant;
    Ok(models::list(&edge.0.subscription.current(), tenant))
}

async fn one_model(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let tenant = context(request.extensions())?.principal.tenant;
    Ok(models::one(&edge.0.subscription.current(), tenant, &id)?)
}

/// What is left of a request once it may go on.
struct Plan {
    route: Route,
    texts: Vec<String>,
    encoding: Encoding,
    /// Whether the input was an array, whose entries are named by index.
    is_array: bool,
}

impl Edge {
    async fn embed(
        &self,
        context: &CallContext,
        key: Option<&RequestId>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Error> {
        let plan = self.plan(context, headers, body)?;
        let (encoding, is_array) = (plan.encoding, plan.is_array);
        let routed = match key {
            None => self.0.route(context, &plan.route, plan.texts).await?,
            Some(key) => Box::pin(keyed::route(&self.0, context, key, plan)).await?,
        };
        let mut summary = Summary::default();
        let mut items = Vec::with_capacity(routed.items.len());
        for (index, item) in routed.items.into_iter().enumerate() {
            // this protocol has no partial results
            let item = item.map_err(|error| about(error, &param(is_array, index)))?;
            summary.add(&item);
            items.push(item);
        }
        let floats = |out: &mut Vec<u8>, item: &Item| {
            self.1.append(out, &item.vector, item.cached, encode::floats);
        };
        let answer = encode::answer(&routed.model, items.iter(), encoding, summary.tokens, floats);
        let mut response = Response::new(answer.into());
        *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        summary.write(response.headers_mut());
        Ok(response)
    }

    /// From the body to scrubbed texts. Does not await, so that the texts may borrow from the body.
    fn plan(&self, context: &CallContext, headers: &HeaderMap, body: &[u8]) -> Result<Plan, Error> {
        let request = EmbeddingsRequest::parse(body)?;
        let principal = &context.principal;
        let agent = match &principal.agent {
            Some(bound) => bound.clone(),
            None => named_agent(headers, request.user.as_deref()),
        };
        let model = match request.model.as_ref() {
            AUTO => None,
            id => fields::model(Some(id.to_owned()))?,
        };
        let dimensions = fields::dimensions(request.dimensions)?;
        let is_array = request.input.is_array();
        let limits = &self.0.limits;
        let texts = request.input.into_texts(limits)?;
        for (index, text) in texts.iter().enumerate() {
            // the name of an entry is made for its refusal alone
            check_text("input", text, limits.max_text_bytes)
                .map_err(|error| error.with_param(param(is_array, index)))?;
        }
        check_total(texts.iter().map(|text| text.len()).sum(), limits.max_total_bytes)?;

        let scrubber = self.0.scrubber(principal.tenant, Some(&agent))?;
        let span = Span::new("scrub");
        let texts = scrubbed(&scrubber, texts, is_array)?;
        drop(span);
        let route = Route {
            agent,
            model,
            // this protocol has none
            task_type: fields::task_type(None)?,
            input_type: InputType::Document,
            dimensions,
            on_too_long: OnTooLong::Error,
        };
        Ok(Plan { route, texts, encoding: request.encoding, is_array })
    }
}

fn scrubbed(
    scrubber: &AgentScrubber<'_>,
    texts: Vec<Cow<'_, str>>,
    is_array: bool,
) -> Result<Vec<String>, Error> {
    let mut tally = Tally::default();
    let texts = texts.into_iter().enumerate();
    let clean = texts.map(|(index, text)| {
        let clean = scrubber
            .text("input", &text, &mut tally)
            .map_err(|error| error.with_param(param(is_array, index)))?;
        Ok(match clean {
            Cow::Owned(clean) => clean,
            Cow::Borrowed(_) => text.into_owned(),
        })
    });
    clean.collect()
}

/// The header, else `user`; whatever is no agent id stands for nobody.
fn named_agent(headers: &HeaderMap, user: Option<&str>) -> AgentId {
    let named = match headers.get(AGENT_ID) {
        Some(header) => header.to_str().ok(),
        None => user,
    };
    named.and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn param(is_array: bool, index: usize) -> String {
    if is_array { format!("input[{index}]") } else { "input".to_owned() }
}

#[cfg(test)]
mod tests;
