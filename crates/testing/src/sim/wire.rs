//! The seam between the simulator and the APIs that it speaks: bytes to an [`EmbedRequest`], vectors to bytes.
//!
//! One file per format. A format knows its routes, its credentials, its limits and its error shape; vectors, faults, rate limits,
//! the log and sockets know no format.

mod azure;
mod bedrock;
mod cohere;
mod gemini;
mod numbers;
pub mod openai;
mod vertex;
mod voyage;

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize};

use super::api::Api;
use super::deployment::Deployment;
use super::embedding::{EmbedAnswer, EmbedRequest};
use super::model::ModelSpec;

/// What a valid request wants.
pub(super) enum Ask {
    /// Vectors.
    Embed(EmbedRequest),
    /// Anything else (a list of models, a token), with its finished answer.
    Other(Written),
}

/// An answer, still without its status.
#[derive(Debug)]
pub(super) struct Written {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

impl Written {
    /// A body of JSON.
    pub fn json(body: Vec<u8>) -> Self {
        Self::of("application/json", body)
    }

    /// A body of JSON, serialised.
    pub fn serialise(body: &impl Serialize) -> Self {
        Self::json(serde_json::to_vec(body).unwrap_or_default())
    }

    /// A body of this media type.
    pub fn of(media_type: &'static str, body: Vec<u8>) -> Self {
        Self { headers: vec![(CONTENT_TYPE, HeaderValue::from_static(media_type))], body }
    }

    /// With one more header; a value that no header can carry is left out.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}

/// An error in its API's own shape.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub written: Written,
}

/// What is wrong when nothing is wrong with the request's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A fault that was asked for: whatever the real API says with this status.
    Injected,
    /// More requests in a minute than allowed.
    RequestLimit,
    /// More tokens in a minute than allowed.
    TokenLimit,
    /// The account's quota is used up: waiting does not help.
    QuotaUsedUp,
    /// The content filter does not want the text.
    Content,
    /// More bytes than any API takes.
    BodyTooLarge,
}

/// One API's wire format.
pub(super) trait WireFormat: Sync {
    /// The models that a deployment serves unless its spec says otherwise.
    fn models(&self) -> Vec<ModelSpec>;

    /// What clients of the real API configure as its address, after the origin and the deployment's prefix.
    fn base_path(&self) -> &'static str;

    /// Whether the request, by its head, wants vectors if it is valid.
    fn asks_for_vectors(&self, head: &Parts) -> bool;

    /// Whether the API numbers its vectors. Where it does not, a wrong index is one vector too many instead.
    fn has_index(&self) -> bool {
        false
    }

    /// Checks credentials, route and body, in the order in which the real API does.
    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal>;

    /// Vectors as bytes, with usage where the API reports it. The answer may be spoilt: its items are written as they are.
    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written;

    /// The API's own error for a problem; `Retry-After` is put into the head by the caller, into the body by the API's habit.
    fn refuse(&self, status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Refusal;
}

/// The format of an API.
pub(super) fn of(api: Api) -> &'static dyn WireFormat {
    match api {
        Api::OpenAi => &openai::OpenAi,
        Api::AzureOpenAi => &azure::AzureOpenAi,
        Api::Bedrock => &bedrock::Bedrock,
        Api::Vertex => &vertex::Vertex,
        Api::Gemini => &gemini::Gemini,
        Api::Voyage => &voyage::Voyage,
        Api::Cohere => &cohere::Cohere,
    }
}

/// An optional field that may be left out but not be null: gateways that forward `"encoding_format": null` break against real APIs.
/// For `#[serde(default, deserialize_with = "present")]`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Whether a bearer key is the one wanted, when one is wanted.
fn bearer_fits(deployment: &Deployment, head: &Parts) -> bool {
    let given = header(head, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    deployment.spec().api_key.as_deref().is_none_or(|wanted| given == Some(wanted))
}

/// Whether the body says that it is JSON.
fn is_json(head: &Parts) -> bool {
    let Some(Ok(value)) = head.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    value.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
}

/// A header as text.
fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}
