//! Azure OpenAI: OpenAI's bodies below Azure's routes, credentials and errors.
//!
//! `POST {prefix}/openai/deployments/{deployment}/embeddings?api-version=…` names the deployment in the path;
//! `POST {prefix}/openai/v1/embeddings` names it as the model in the body. A deployment's name is a model's name here; the answer
//! names the model behind it, which is the family.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::super::deployment::Deployment;
use super::super::embedding::{EmbedAnswer, EmbedRequest};
use super::super::model::ModelSpec;
use super::openai::error::OpenAiError;
use super::openai::{request, write_answer};
use super::{Ask, Problem, Refusal, WireFormat, Written, bearer_fits, header};

/// The format.
pub(super) struct AzureOpenAi;

impl WireFormat for AzureOpenAi {
    fn models(&self) -> Vec<ModelSpec> {
        ModelSpec::openai()
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with("/embeddings")
    }

    fn has_index(&self) -> bool {
        true
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        let path = head.uri.path().strip_prefix(deployment.spec().prefix.as_str());
        let route = path.and_then(|path| path.strip_prefix("/openai/"));
        let Some(route) = route.filter(|_| head.method == Method::POST) else { return Err(no_resource()) };
        let in_path = route.strip_prefix("deployments/").and_then(|rest| rest.strip_suffix("/embeddings"));
        match (route, in_path, api_version(head)) {
            ("v1/embeddings", _, None | Some("v1" | "preview" | "latest")) => {}
            (_, Some(_), Some(version)) if is_date(version) => {}
            _ => return Err(no_resource()),
        }
        authorize(deployment, head)?;
        let mut body = request::parse(head, body).map_err(OpenAiError::refusal)?;
        // with the deployment in the path, clients may still name a model, which means nothing
        let named = body.model.take();
        let name = match in_path {
            Some(name) => name.to_owned(),
            None => named.ok_or_else(|| OpenAiError::param("model", "name a model".to_owned()).refusal())?,
        };
        let model = deployment.model(&name).ok_or_else(no_deployment)?;
        request::embed(model, &name, body).map(Ask::Embed).map_err(OpenAiError::refusal)
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        Written::json(write_answer(&EmbedAnswer { model: request.family.clone(), ..answer.clone() }))
    }

    fn refuse(&self, status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Refusal {
        let wait = retry_after.map_or(1, |wait| wait.as_secs().max(1));
        let code = status.as_str();
        match (problem, status.as_u16()) {
            (Problem::Content, _) => Refusal {
                status,
                written: Written::serialise(&json!({"error": {
                    "message": "the input was stopped by the content filter",
                    "type": null,
                    "param": "input",
                    "code": "content_filter",
                    "status": status.as_u16(),
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }})),
            },
            (Problem::QuotaUsedUp, _) => {
                let message = "the quota of this subscription is used up; raise it in the portal";
                azure_error(status, "insufficient_quota", message)
            }
            (Problem::BodyTooLarge, _) => azure_error(status, code, "the request body is too large"),
            (Problem::TokenLimit, _) => azure_error(
                status,
                code,
                &format!("over the token rate limit; please retry after {wait} seconds"),
            ),
            (Problem::RequestLimit, _) | (_, 429) => azure_error(
                status,
                code,
                &format!("over the call rate limit; please retry after {wait} seconds"),
            ),
            (_, 401) => denied(),
            (_, 403) => azure_error(status, code, "this virtual network or role may not do that"),
            (_, 404) => no_deployment(),
            (_, 500..) => azure_error(status, "InternalServerError", "the server had an error"),
            _ => azure_error(status, "BadRequest", "simulated refusal"),
        }
    }
}

/// Azure's own shape, which has a code and a message only.
fn azure_error(status: StatusCode, code: &str, message: &str) -> Refusal {
    Refusal { status, written: Written::serialise(&json!({"error": {"code": code, "message": message}})) }
}

fn no_resource() -> Refusal {
    azure_error(StatusCode::NOT_FOUND, "404", "resource not found: check the path and api-version")
}

fn no_deployment() -> Refusal {
    azure_error(
        StatusCode::NOT_FOUND,
        "DeploymentNotFound",
        "the API deployment for this resource does not exist",
    )
}

fn denied() -> Refusal {
    azure_error(StatusCode::UNAUTHORIZED, "401", "access denied: wrong subscription key or endpoint")
}

fn authorize(deployment: &Deployment, head: &Parts) -> Result<(), Refusal> {
    let key_fits =
        header(head, "api-key").is_some_and(|given| deployment.spec().api_key.as_deref() == Some(given));
    if key_fits || bearer_fits(deployment, head) { Ok(()) } else { Err(denied()) }
}

fn api_version(head: &Parts) -> Option<&str> {
    head.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("api-version="))
}

/// `2024-10-21` or `2024-10-01-preview`.
fn is_date(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    date.len() == 10
        && date
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}
