//! OpenAI's wire format, which Azure's v1 API and most self-hosted servers speak too.
//!
//! `POST {prefix}/v1/embeddings`, `GET {prefix}/v1/models` and `GET {prefix}/v1/models/{id}`.

mod request;

use base64_simd::STANDARD as BASE64;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;

use super::deployment::{Deployment, ModelSpec};
use super::embedding::{EmbedAnswer, EmbedRequest};
use super::faults::Fault;

/// When the models were "created"; the API wants a time, and a fixed one keeps answers equal.
const CREATED: u64 = 1_705_948_997;

/// What a valid request wants.
pub(super) enum Ask {
    Embed(EmbedRequest),
    Models,
    Model(ModelSpec),
}

/// An error in OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl Refusal {
    fn new(status: StatusCode, message: String) -> Self {
        Self { status, message, kind: "invalid_request_error", param: None, code: None }
    }

    /// A 400 that blames one parameter.
    fn param(param: &'static str, message: String) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn body_too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("request body is over {limit} bytes"))
    }

    /// What the real API says with this status when nothing is wrong with the request.
    pub fn injected(status: StatusCode) -> Self {
        let (kind, code, message) = match status.as_u16() {
            401 => ("invalid_request_error", Some("invalid_api_key"), "incorrect API key provided"),
            403 => {
                ("invalid_request_error", Some("unsupported_country_region_territory"), "not allowed here")
            }
            429 => ("requests", Some("rate_limit_exceeded"), "rate limit reached for requests"),
            500.. => ("server_error", None, "the server had an error while processing the request"),
            _ => ("invalid_request_error", None, "simulated refusal"),
        };
        Self { code, kind, ..Self::new(status, message.to_owned()) }
    }

    pub fn body(&self) -> Vec<u8> {
        let Self { message, kind, param, code, .. } = self;
        let error = ErrorDetail { message, r#type: kind, param: *param, code: *code };
        serde_json::to_vec(&ErrorBody { error }).unwrap_or_default()
    }
}

/// Whether the request, if valid, wants vectors.
pub(super) fn asks_for_vectors(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.path().ends_with("/v1/embeddings")
}

/// Checks key, route and body, in the order in which the real API does.
pub(super) fn read(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
    let path = head.uri.path();
    let route =
        path.strip_prefix(deployment.spec().prefix.as_str()).and_then(|rest| rest.strip_prefix("/v1/"));
    let Some(route) = route else { return Err(unknown_route(head)) };
    authorize(deployment, head)?;
    match (&head.method, route) {
        (&Method::POST, "embeddings") => request::read(deployment, head, body).map(Ask::Embed),
        (&Method::GET, "models") => Ok(Ask::Models),
        (&Method::GET, route) => match route.strip_prefix("models/") {
            Some(name) => find_model(deployment, name).cloned().map(Ask::Model),
            None => Err(unknown_route(head)),
        },
        _ => Err(unknown_route(head)),
    }
}

fn unknown_route(head: &Parts) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("invalid URL ({} {})", head.method, head.uri.path()))
}

fn authorize(deployment: &Deployment, head: &Parts) -> Result<(), Refusal> {
    let Some(key) = &deployment.spec().api_key else { return Ok(()) };
    let given = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.map(|value| value.strip_prefix("Bearer ")) {
        Some(Some(given)) if given == key => Ok(()),
        Some(_) => Err(Refusal::injected(StatusCode::UNAUTHORIZED)),
        None => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "no API key provided; send it as `Authorization: Bearer <key>`".to_owned(),
        )),
    }
}

fn find_model<'a>(deployment: &'a Deployment, name: &str) -> Result<&'a ModelSpec, Refusal> {
    deployment.model(name).ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the model `{name}` does not exist or is not open to you"),
        )
        .code("model_not_found")
    })
}

/// The body that answers `ask`.
pub(super) fn write(deployment: &Deployment, ask: Ask, fault: Option<&Fault>) -> Vec<u8> {
    match ask {
        Ask::Embed(request) => write_answer(&request.answer(deployment.spec().seed, fault)),
        Ask::Models => {
            let data = deployment.spec().models.iter().map(ModelCard::of).collect();
            serde_json::to_vec(&ModelList { object: "list", data }).unwrap_or_default()
        }
        Ask::Model(model) => serde_json::to_vec(&ModelCard::of(&model)).unwrap_or_default(),
    }
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelCard<'a>>,
}

#[derive(Serialize)]
struct ModelCard<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl<'a> ModelCard<'a> {
    fn of(model: &'a ModelSpec) -> Self {
        Self { id: &model.name, object: "model", created: CREATED, owned_by: "system" }
    }
}

/// An answer of `/v1/embeddings` as bytes.
///
/// Written by hand, since a NaN among floats has to come out as a NaN and serde would make it `null`.
#[must_use]
pub fn write_answer(answer: &EmbedAnswer) -> Vec<u8> {
    let mut out = br#"{"object":"list","data":["#.to_vec();
    for (position, item) in answer.items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(
            format!(r#"{{"object":"embedding","index":{},"embedding":"#, item.index).as_bytes(),
        );
        if answer.base64 {
            let packed: Vec<u8> = item.vector.iter().flat_map(|component| component.to_le_bytes()).collect();
            out.push(b'"');
            out.extend_from_slice(BASE64.encode_to_string(packed).as_bytes());
            out.push(b'"');
        } else {
            write_floats(&mut out, &item.vector);
        }
        out.push(b'}');
    }
    let model = serde_json::Value::from(answer.model.as_str());
    let tokens = answer.tokens;
    out.extend_from_slice(
        format!(r#"],"model":{model},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#)
            .as_bytes(),
    );
    out
}

fn write_floats(out: &mut Vec<u8>, vector: &[f32]) {
    out.push(b'[');
    for (position, component) in vector.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        if component.is_finite() {
            out.extend_from_slice(format!("{component:?}").as_bytes());
        } else {
            out.extend_from_slice(b"NaN");
        }
    }
    out.push(b']');
}
