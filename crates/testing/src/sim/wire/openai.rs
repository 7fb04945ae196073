//! OpenAI's wire format, which Azure's v1 API and most self-hosted servers speak too.
//!
//! `POST {prefix}/v1/embeddings`, `GET {prefix}/v1/models` and `GET {prefix}/v1/models/{id}`. Stricter than the real API: an unknown
//! field or a `null` where it wants a value is refused.

pub(super) mod error;
pub(super) mod request;

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;

use super::super::deployment::Deployment;
use super::super::embedding::{EmbedAnswer, EmbedRequest, Numbers};
use super::super::model::ModelSpec;
use super::numbers::write_vector;
use super::{Ask, Problem, Refusal, WireFormat, Written, header};
use error::{OpenAiError, refusal};

/// When the models were "created"; the API wants a time, and a fixed one keeps answers equal.
const CREATED: u64 = 1_705_948_997;

/// The format.
pub(super) struct OpenAi;

impl WireFormat for OpenAi {
    fn models(&self) -> Vec<ModelSpec> {
        ModelSpec::openai()
    }

    fn base_path(&self) -> &'static str {
        "/v1"
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with("/v1/embeddings")
    }

    fn has_index(&self) -> bool {
        true
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        let path = head.uri.path();
        let route =
            path.strip_prefix(deployment.spec().prefix.as_str()).and_then(|rest| rest.strip_prefix("/v1/"));
        let Some(route) = route else { return Err(unknown_route(head)) };
        authorize(deployment, head)?;
        match (&head.method, route) {
            (&Method::POST, "embeddings") => Ok(Ask::Embed(embed(deployment, head, body)?)),
            (&Method::GET, "models") => Ok(Ask::Other(Written::serialise(&ModelList {
                object: "list",
                data: deployment.spec().models.iter().map(ModelCard::of).collect(),
            }))),
            (&Method::GET, route) => match route.strip_prefix("models/") {
                Some(name) => {
                    let model = find_model(deployment, name).map_err(OpenAiError::refusal)?;
                    Ok(Ask::Other(Written::serialise(&ModelCard::of(model))))
                }
                None => Err(unknown_route(head)),
            },
            _ => Err(unknown_route(head)),
        }
    }

    fn write(&self, _request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        Written::json(write_answer(answer))
    }

    fn refuse(&self, status: StatusCode, problem: Problem, _retry_after: Option<Duration>) -> Refusal {
        refusal(status, problem)
    }
}

fn unknown_route(head: &Parts) -> Refusal {
    OpenAiError::new(StatusCode::NOT_FOUND, format!("invalid URL ({} {})", head.method, head.uri.path()))
        .refusal()
}

fn authorize(deployment: &Deployment, head: &Parts) -> Result<(), Refusal> {
    let Some(key) = &deployment.spec().api_key else { return Ok(()) };
    match header(head, "authorization").map(|value| value.strip_prefix("Bearer ")) {
        Some(Some(given)) if given == key => Ok(()),
        Some(_) => Err(refusal(StatusCode::UNAUTHORIZED, Problem::Injected)),
        None => Err(OpenAiError::new(
            StatusCode::UNAUTHORIZED,
            "no API key provided; send it as `Authorization: Bearer <key>`".to_owned(),
        )
        .refusal()),
    }
}

fn embed(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<EmbedRequest, Refusal> {
    let read = || {
        let mut body = request::parse(head, body)?;
        let name = body.model.take().ok_or_else(|| OpenAiError::param("model", "name a model".to_owned()))?;
        request::embed(find_model(deployment, &name)?, &name, body)
    };
    read().map_err(OpenAiError::refusal)
}

fn find_model<'a>(deployment: &'a Deployment, name: &str) -> Result<&'a ModelSpec, OpenAiError> {
    deployment.model(name).ok_or_else(|| {
        OpenAiError::new(
            StatusCode::NOT_FOUND,
            format!("the model `{name}` does not exist or is not open to you"),
        )
        .code("model_not_found")
    })
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
        write_vector(&mut out, &item.vector, Numbers::Float, answer.base64);
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
