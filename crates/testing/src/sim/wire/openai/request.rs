//! The body of `POST /v1/embeddings`, field by field.

use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::Value;

use super::super::super::embedding::{EmbedRequest, Input};
use super::super::super::model::ModelSpec;
use super::super::super::tokens;
use super::super::{is_json, present};
use super::error::OpenAiError;

/// Most inputs of one request.
const MAX_INPUTS: usize = 2048;
/// Most tokens of one request, all inputs together.
const MAX_REQUEST_TOKENS: usize = 300_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Body {
    #[serde(default, deserialize_with = "present")]
    pub model: Option<String>,
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

/// The fields, each of the right type.
pub(in super::super) fn parse(head: &Parts, body: &[u8]) -> Result<Body, OpenAiError> {
    let refuse = |message| OpenAiError::new(StatusCode::BAD_REQUEST, message);
    if !is_json(head) {
        return Err(refuse("send the body with `Content-Type: application/json`".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| refuse(format!("cannot use the request body: {error}")))
}

/// What the fields ask `model` for, under the name `name`.
pub(in super::super) fn embed(
    model: &ModelSpec,
    name: &str,
    body: Body,
) -> Result<EmbedRequest, OpenAiError> {
    let dims =
        model.dims_asked(body.dimensions).map_err(|message| OpenAiError::param("dimensions", message))?;
    let inputs = inputs(body.input)?;
    check_tokens(model, &inputs)?;
    let base64 = matches!(body.encoding_format, Some(Encoding::Base64));
    Ok(EmbedRequest { dims, base64, ..EmbedRequest::new(model, name, inputs) })
}

/// A string, strings, token ids, or arrays of token ids.
fn inputs(value: Value) -> Result<Vec<Input>, OpenAiError> {
    let refuse = |message: &str| Err(OpenAiError::param("input", message.to_owned()));
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

fn text_input(text: &str) -> Result<Input, OpenAiError> {
    if text.is_empty() {
        return Err(OpenAiError::param("input", "input must not be an empty string".to_owned()));
    }
    Ok(Input::text(text))
}

fn token_input(ids: &[Value]) -> Result<Input, OpenAiError> {
    let refuse = |message: &str| Err(OpenAiError::param("input", message.to_owned()));
    if ids.is_empty() {
        return refuse("a token array must not be empty");
    }
    let ids: Option<Vec<u32>> =
        ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
    let Some(ids) = ids else { return refuse("a token id must be a whole number, not negative") };
    match tokens::decode(&ids) {
        Some(text) => Ok(Input { text, tokens: ids.len(), cut: false }),
        None => refuse("a token id is not in the model's vocabulary"),
    }
}

fn check_tokens(model: &ModelSpec, inputs: &[Input]) -> Result<(), OpenAiError> {
    if let Some((index, input)) = inputs.iter().enumerate().find(|(_, input)| input.tokens > model.max_tokens)
    {
        let (max, tokens) = (model.max_tokens, input.tokens);
        let message = format!("maximum context length is {max} tokens, but input {index} has {tokens}");
        return Err(OpenAiError::param("input", message).code("context_length_exceeded"));
    }
    let total: usize = inputs.iter().map(|input| input.tokens).sum();
    if total > MAX_REQUEST_TOKENS {
        let message = format!("{total} tokens in one request; at most {MAX_REQUEST_TOKENS} fit");
        return Err(OpenAiError::param("input", message).code("max_tokens_per_request"));
    }
    Ok(())
}
