//! The body of `batchEmbedContents`, field by field.

use http::request::Parts;
use serde::Deserialize;

use super::super::super::deployment::ModelSpec;
use super::super::super::embedding::{EmbedRequest, Input};
use super::super::super::google::error::GoogleError;
use super::super::vertex::{TaskType, cut_from};
use super::super::{is_json, present};

/// Most requests of one batch.
const MAX_REQUESTS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    requests: Vec<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    model: String,
    content: Content,
    #[serde(default, deserialize_with = "present")]
    task_type: Option<TaskType>,
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    output_dimensionality: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    parts: Vec<Part>,
    #[serde(default, deserialize_with = "present")]
    #[expect(dead_code, reason = "the API takes it and does nothing with it here; only its type is checked")]
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    text: String,
}

pub(super) fn read(
    model: &ModelSpec,
    name: &str,
    head: &Parts,
    body: &[u8],
) -> Result<EmbedRequest, GoogleError> {
    if !is_json(head) {
        return Err(GoogleError::invalid("send the body with `Content-Type: application/json`"));
    }
    let Body { requests } = serde_json::from_slice(body)
        .map_err(|error| GoogleError::invalid(format!("cannot use the request body: {error}")))?;
    let Some(first) = requests.first() else {
        return Err(GoogleError::invalid("BatchEmbedContentsRequest.requests: must not be empty"));
    };
    if requests.len() > MAX_REQUESTS {
        let message =
            format!("BatchEmbedContentsRequest.requests: at most {MAX_REQUESTS} requests fit one batch");
        return Err(GoogleError::invalid(message));
    }
    let (task_type, asked) = (first.task_type, first.output_dimensionality);
    let mut inputs = Vec::with_capacity(requests.len());
    for (at, request) in requests.iter().enumerate() {
        if request.model.strip_prefix("models/") != Some(name) {
            let message = format!("requests[{at}].model: must be models/{name}, as in the path");
            return Err(GoogleError::invalid(message));
        }
        if request.task_type != task_type || request.output_dimensionality != asked {
            return Err(GoogleError::invalid("the simulator takes one taskType and length in a batch"));
        }
        if request.title.is_some() && task_type != Some(TaskType::RetrievalDocument) {
            return Err(GoogleError::invalid("a title goes with RETRIEVAL_DOCUMENT alone"));
        }
        inputs.push(input(model, at, &request.content)?);
    }
    let dims = model.dims_asked(asked).map_err(GoogleError::invalid)?;
    Ok(EmbedRequest {
        dims,
        input_type: task_type.map(|task_type| task_type.as_str().to_owned()),
        cut_from: cut_from(model, dims),
        ..EmbedRequest::new(model, name, inputs)
    })
}

fn input(model: &ModelSpec, at: usize, content: &Content) -> Result<Input, GoogleError> {
    let text: String = content.parts.iter().map(|part| part.text.as_str()).collect();
    if text.is_empty() {
        return Err(GoogleError::invalid(format!("requests[{at}].content: must not be empty")));
    }
    let input = Input::text(&text);
    if input.tokens > model.max_tokens {
        let (got, most) = (input.tokens, model.max_tokens);
        let message = format!("requests[{at}]: the input token count {got} exceeds the {most} allowed");
        return Err(GoogleError::invalid(message));
    }
    Ok(input)
}
