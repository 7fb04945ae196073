//! Google Vertex AI: `POST {prefix}/v1/projects/{project}/locations/{region}/publishers/google/models/{model}:predict`, with the OAuth
//! token endpoint at `{prefix}/token` and a metadata server at `{prefix}/computeMetadata/…` beside it.
//!
//! `GET {prefix}/service-account.json` is the simulator's own: the key file of the service account, for other processes.

mod request;

pub(super) use request::{TaskType, cut_from};
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};

use super::super::deployment::{Deployment, ModelSpec};
use super::super::embedding::{EmbedAnswer, EmbedRequest};
use super::super::google::error::{GoogleError, refusal};
use super::super::google::{metadata, oauth};
use super::numbers::write_floats;
use super::{Ask, Problem, Refusal, WireFormat, Written, header};

/// The format.
pub(super) struct Vertex;

/// `models` of Google, which take what a text is for and any length up to their own.
pub(super) fn text_model(name: &str, dims: usize, max_tokens: usize) -> ModelSpec {
    ModelSpec { shortenable: true, ..ModelSpec::asymmetric(name, dims, &[], max_tokens) }
}

impl WireFormat for Vertex {
    fn models(&self) -> Vec<ModelSpec> {
        vec![
            text_model("gemini-embedding-001", 3072, 2048),
            text_model("text-embedding-005", 768, 2048),
            text_model("text-multilingual-embedding-002", 768, 2048),
            ModelSpec::asymmetric("textembedding-gecko@003", 768, &[], 2048),
            ModelSpec::asymmetric("textembedding-gecko-multilingual@001", 768, &[], 2048),
        ]
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with(":predict")
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        let route = head.uri.path().strip_prefix(deployment.spec().prefix.as_str()).unwrap_or_default();
        match (&head.method, route) {
            (&Method::POST, "/token") => oauth::answer(deployment, head, body).map(Ask::Other),
            (&Method::GET, metadata::PATH) => metadata::answer(deployment, head).map(Ask::Other),
            (&Method::GET, "/service-account.json") => {
                Ok(Ask::Other(Written::json(deployment.google_key_file().into_bytes())))
            }
            (&Method::POST, route) => {
                predict(deployment, head, route, body).map(Ask::Embed).map_err(GoogleError::refusal)
            }
            _ => Err(unknown(head).refusal()),
        }
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        Written::json(write(request, answer))
    }

    fn refuse(&self, status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Refusal {
        refusal(status, problem, retry_after)
    }
}

fn unknown(head: &Parts) -> GoogleError {
    GoogleError::new(StatusCode::NOT_FOUND, format!("no such method: {} {}", head.method, head.uri.path()))
}

fn predict(
    deployment: &Deployment,
    head: &Parts,
    route: &str,
    body: &[u8],
) -> Result<EmbedRequest, GoogleError> {
    let parts: Vec<&str> = route.split('/').collect();
    let ["", "v1", "projects", project, "locations", region, "publishers", "google", "models", model] =
        parts[..]
    else {
        return Err(unknown(head));
    };
    let model = model.strip_suffix(":predict").ok_or_else(|| unknown(head))?;
    if let Some(google) = &deployment.spec().google {
        authenticate(deployment, head)?;
        if project != google.project {
            let message = format!("the account may not predict in project {project}");
            return Err(GoogleError::new(StatusCode::FORBIDDEN, message).reason("IAM_PERMISSION_DENIED"));
        }
        if region != google.region {
            return Err(GoogleError::invalid(format!("location {region} is not the endpoint's")));
        }
    }
    let found = deployment.model(model).ok_or_else(|| {
        let message = format!("publisher model {model} was not found, or the project has no access to it");
        GoogleError::new(StatusCode::NOT_FOUND, message)
    })?;
    request::read(found, model, head, body)
}

fn authenticate(deployment: &Deployment, head: &Parts) -> Result<(), GoogleError> {
    let refuse =
        |message: &str, reason: &str| Err(GoogleError::new(StatusCode::UNAUTHORIZED, message).reason(reason));
    match header(head, "authorization").map(|value| value.strip_prefix("Bearer ")) {
        Some(Some(token)) if deployment.google().admits(token) => Ok(()),
        Some(Some(_)) => refuse("the access token is not good, or not any more", "ACCESS_TOKEN_EXPIRED"),
        Some(None) => refuse("send an access token as `Authorization: Bearer`", "CREDENTIALS_MISSING"),
        None => refuse("the request has no credential", "CREDENTIALS_MISSING"),
    }
}

/// By hand, since a NaN has to come out as one.
fn write(request: &EmbedRequest, answer: &EmbedAnswer) -> Vec<u8> {
    let mut out = br#"{"predictions":["#.to_vec();
    for (position, item) in answer.items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        let input = request.inputs.get(position);
        let (tokens, cut) = input.map_or((0, false), |input| (input.tokens, input.cut));
        let statistics = format!(r#"{{"token_count":{tokens},"truncated":{cut}}}"#);
        out.extend_from_slice(format!(r#"{{"embeddings":{{"statistics":{statistics},"values":"#).as_bytes());
        write_floats(&mut out, &item.vector);
        out.extend_from_slice(b"}}");
    }
    let characters: usize = request.texts().iter().map(|text| billable_characters(text)).sum();
    let metadata = format!(r#"],"metadata":{{"billableCharacterCount":{characters}}}}}"#);
    out.extend_from_slice(metadata.as_bytes());
    out
}

/// Characters without white space.
fn billable_characters(text: &str) -> usize {
    text.chars().filter(|character| !character.is_whitespace()).count()
}
