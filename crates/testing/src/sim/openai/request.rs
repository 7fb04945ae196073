//! The body of `POST /v1/embeddings`, field by field.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::deployment::{Deployment, ModelSpec};
use super::super::embedding::{EmbedRequest, Input};
use super::super::tokens;
use super::{Refusal, find_model};

/// Most inputs of one request.
const MAX_INPUTS: usize = 2048;
/// Most tokens of one request, all inputs together.
const MAX_REQUEST_TOKENS: usize = 300_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    input: Value,
    #[serde(default, deserialize_with = "present")]
    encoding_format: Option<Encoding>,
    #[serde(default, deserialize_with = "present")]
    dimensions: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    #[expect(
        dead_code,
        reason = "the API takes it and does nothing visible with it; only its type is checked"
    )]
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

/// An optional field that may be left out but not be null: gateways that forward `"encoding_format": null`
/// break against the real API.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

pub(super) fn read(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<EmbedRequest, Refusal> {
    let is_json =
        head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
        });
    if !is_json {
        let message = "send the body with `Content-Type: application/json`".to_owned();
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("cannot use the request body: {error}"))
    })?;
    let model = find_model(deployment, &body.model)?;
    let dims = dimensions(model, body.dimensions)?;
    let inputs = inputs(body.input)?;
    check_tokens(model, &inputs)?;
    Ok(EmbedRequest {
        family: model.family.clone(),
        model: body.model,
        inputs,
        dims,
        base64: matches!(body.encoding_format, Some(Encoding::Base64)),
    })
}

fn dimensions(model: &ModelSpec, asked: Option<usize>) -> Result<usize, Refusal> {
    let refuse = |message| Err(Refusal::param("dimensions", message));
    match asked {
        None => Ok(model.dims),
        Some(_) if !model.shortenable => refuse(format!("model {} takes no dimensions", model.name)),
        Some(dims) if (1..=model.dims).contains(&dims) => Ok(dims),
        Some(dims) => refuse(format!("dimensions must be 1 to {}, not {dims}", model.dims)),
    }
}

/// A string, strings, token ids, or arrays of token ids.
fn inputs(value: Value) -> Result<Vec<Input>, Refusal> {
    let refuse = |message: &str| Err(Refusal::param("input", message.to_owned()));
    match value {
        Value::String(text) => Ok(vec![text_input(&text)?]),
        Value::Array(items) if items.is_empty() => refuse("input must not be an empty array"),
        Value::Array(items) if items.iter().all(Value::is_number) => Ok(vec![token_input(&items)?]),
        Value::Array(items) if items.len() > MAX_INPUTS => {
            refuse(&format!("input has {} items; at most {MAX_INPUTS} fit one request", items.len()))
        }
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(text_input).collect()
        }
        Value::Array(items) if items.iter().all(Value::is_array) => {
            items.iter().filter_map(Value::as_array).map(|ids| token_input(ids)).collect()
        }
        _ => refuse("input must be a string, strings, token ids, or arrays of token ids"),
    }
}

fn text_input(text: &str) -> Result<Input, Refusal> {
    if text.is_empty() {
        return Err(Refusal::param("input", "input must not be an empty string".to_owned()));
    }
    Ok(Input { tokens: tokens::count(text), text: text.into() })
}

fn token_input(ids: &[Value]) -> Result<Input, Refusal> {
    let refuse = |message: &str| Err(Refusal::param("input", message.to_owned()));
    if ids.is_empty() {
        return refuse("a token array must not be empty");
    }
    let ids: Option<Vec<u32>> =
        ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
    let Some(ids) = ids else { return refuse("a token id must be a whole number, not negative") };
    match tokens::decode(&ids) {
        Some(text) => Ok(Input { text, tokens: ids.len() }),
        None => refuse("a token id is not in the model's vocabulary"),
    }
}

fn check_tokens(model: &ModelSpec, inputs: &[Input]) -> Result<(), Refusal> {
    if let Some((index, input)) = inputs.iter().enumerate().find(|(_, input)| input.tokens > model.max_tokens)
    {
        let (max, tokens) = (model.max_tokens, input.tokens);
        let message = format!("maximum context length is {max} tokens, but input {index} has {tokens}");
        return Err(Refusal::param("input", message).code("context_length_exceeded"));
    }
    let total: usize = inputs.iter().map(|input| input.tokens).sum();
    if total > MAX_REQUEST_TOKENS {
        let message = format!("{total} tokens in one request; at most {MAX_REQUEST_TOKENS} fit");
        return Err(Refusal::param("input", message).code("max_tokens_per_request"));
    }
    Ok(())
}
