//! The Gemini API: `POST {prefix}/v1beta/models/{model}:batchEmbedContents`.
//!
//! Several parts of one content become one vector, as with the real API: who puts texts there finds out.

mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};

use super::super::deployment::{Deployment, ModelSpec};
use super::super::embedding::{EmbedAnswer, EmbedRequest};
use super::super::google::error::{GoogleError, refusal};
use super::numbers::write_floats;
use super::vertex::text_model;
use super::{Ask, Problem, Refusal, WireFormat, Written, header};

/// The one model whose answers say nothing of tokens.
const WITHOUT_USAGE: &str = "gemini-embedding-001";

/// The format.
pub(super) struct Gemini;

impl WireFormat for Gemini {
    fn models(&self) -> Vec<ModelSpec> {
        vec![
            text_model(WITHOUT_USAGE, 3072, 2048),
            ModelSpec { max_tokens: 8192, ..ModelSpec::new("gemini-embedding-2", 3072, true) },
        ]
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with(":batchEmbedContents")
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        batch(deployment, head, body).map(Ask::Embed).map_err(GoogleError::refusal)
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        Written::json(write(request, answer))
    }

    fn refuse(&self, status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Refusal {
        refusal(status, problem, retry_after)
    }
}

fn batch(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<EmbedRequest, GoogleError> {
    let path = head.uri.path().strip_prefix(deployment.spec().prefix.as_str());
    let model = path
        .and_then(|path| path.strip_prefix("/v1beta/models/"))
        .and_then(|path| path.strip_suffix(":batchEmbedContents"))
        .filter(|_| head.method == Method::POST);
    let Some(model) = model else {
        let message = format!("no such method: {} {}", head.method, head.uri.path());
        return Err(GoogleError::new(StatusCode::NOT_FOUND, message));
    };
    authenticate(deployment, head)?;
    let found = deployment.model(model).ok_or_else(|| {
        let message = format!("models/{model} is not found, or not supported for batchEmbedContents");
        GoogleError::new(StatusCode::NOT_FOUND, message)
    })?;
    request::read(found, model, head, body)
}

/// A wrong key is an invalid argument to this API, a missing one is not permitted.
fn authenticate(deployment: &Deployment, head: &Parts) -> Result<(), GoogleError> {
    let Some(key) = &deployment.spec().api_key else { return Ok(()) };
    match header(head, "x-goog-api-key") {
        Some(given) if given == key => Ok(()),
        Some(_) => Err(GoogleError::invalid("the API key is not valid").reason("API_KEY_INVALID")),
        None => Err(GoogleError::new(StatusCode::FORBIDDEN, "send an API key, nobody is known without one")),
    }
}

/// By hand, since a NaN has to come out as one.
fn write(request: &EmbedRequest, answer: &EmbedAnswer) -> Vec<u8> {
    let mut out = br#"{"embeddings":["#.to_vec();
    for (position, item) in answer.items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"values":"#);
        write_floats(&mut out, &item.vector);
        out.push(b'}');
    }
    out.push(b']');
    if request.family != WITHOUT_USAGE {
        let tokens = answer.tokens;
        out.extend_from_slice(format!(r#","usageMetadata":{{"promptTokenCount":{tokens}}}"#).as_bytes());
    }
    out.push(b'}');
    out
}
