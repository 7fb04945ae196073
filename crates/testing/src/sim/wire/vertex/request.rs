//! The body of `predict`, field by field.

use http::request::Parts;
use serde::Deserialize;

use super::super::super::deployment::ModelSpec;
use super::super::super::embedding::{CutFrom, EmbedRequest, Input};
use super::super::super::google::error::GoogleError;
use super::super::{is_json, present};

/// Most tokens of one request.
const MAX_REQUEST_TOKENS: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    instances: Vec<Instance>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    content: String,
    #[serde(default, deserialize_with = "present")]
    task_type: Option<TaskType>,
    #[serde(default, deserialize_with = "present")]
    title: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parameters {
    #[serde(default, deserialize_with = "present")]
    auto_truncate: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    output_dimensionality: Option<usize>,
}

/// What a text is for, in the words of both of Google's APIs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in super::super) enum TaskType {
    RetrievalQuery,
    RetrievalDocument,
    SemanticSimilarity,
    Classification,
    Clustering,
    QuestionAnswering,
    FactVerification,
    CodeRetrievalQuery,
}

impl TaskType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetrievalQuery => "RETRIEVAL_QUERY",
            Self::RetrievalDocument => "RETRIEVAL_DOCUMENT",
            Self::SemanticSimilarity => "SEMANTIC_SIMILARITY",
            Self::Classification => "CLASSIFICATION",
            Self::Clustering => "CLUSTERING",
            Self::QuestionAnswering => "QUESTION_ANSWERING",
            Self::FactVerification => "FACT_VERIFICATION",
            Self::CodeRetrievalQuery => "CODE_RETRIEVAL_QUERY",
        }
    }
}

/// Most instances of one request.
fn most_instances(model: &str) -> usize {
    match model {
        _ if model.starts_with("gemini-embedding") => 1,
        _ if model.starts_with("textembedding-gecko") => 5,
        _ => 250,
    }
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
    let Body { instances, parameters } = serde_json::from_slice(body)
        .map_err(|error| GoogleError::invalid(format!("cannot use the request body: {error}")))?;
    let (most, got) = (most_instances(name), instances.len());
    if got == 0 || got > most {
        return Err(GoogleError::invalid(format!(
            "{most} instance(s) is allowed per prediction. Actual: {got}"
        )));
    }
    let dims = model.dims_asked(parameters.output_dimensionality).map_err(GoogleError::invalid)?;
    let task_type = task_type(&instances)?;
    let inputs = inputs(model, instances, parameters.auto_truncate.unwrap_or(true))?;
    Ok(EmbedRequest {
        dims,
        input_type: Some(task_type.as_str().to_owned()),
        cut_from: cut_from(model, dims),
        ..EmbedRequest::new(model, name, inputs)
    })
}

/// The one task type of all instances. The real API takes several, which the simulator has no need for.
fn task_type(instances: &[Instance]) -> Result<TaskType, GoogleError> {
    // what the API takes when nothing is said
    let of = |instance: &Instance| instance.task_type.unwrap_or(TaskType::RetrievalQuery);
    let first = instances.first().map_or(TaskType::RetrievalQuery, of);
    if instances.iter().any(|instance| of(instance) != first) {
        return Err(GoogleError::invalid("the simulator takes one task_type in a request"));
    }
    if first != TaskType::RetrievalDocument && instances.iter().any(|instance| instance.title.is_some()) {
        return Err(GoogleError::invalid("a title goes with RETRIEVAL_DOCUMENT alone"));
    }
    Ok(first)
}

fn inputs(
    model: &ModelSpec,
    instances: Vec<Instance>,
    auto_truncate: bool,
) -> Result<Vec<Input>, GoogleError> {
    let mut inputs = Vec::with_capacity(instances.len());
    for Instance { content, .. } in instances {
        if content.is_empty() {
            return Err(GoogleError::invalid("the text content is empty"));
        }
        inputs.push(Input::text(&content));
    }
    let all: usize = inputs.iter().map(|input| input.tokens).sum();
    if all > MAX_REQUEST_TOKENS {
        return Err(too_long(
            "the input token count",
            all,
            "but the model supports up to",
            MAX_REQUEST_TOKENS,
        ));
    }
    if auto_truncate {
        return Ok(inputs.into_iter().map(|input| input.cut(model.max_tokens, CutFrom::End)).collect());
    }
    match inputs.iter().find(|input| input.tokens > model.max_tokens) {
        Some(long) => {
            Err(too_long("an input's token count", long.tokens, "exceeds the model's", model.max_tokens))
        }
        None => Ok(inputs),
    }
}

fn too_long(what: &str, tokens: usize, beyond: &str, limit: usize) -> GoogleError {
    GoogleError::invalid(format!("unable to submit the request: {what} is {tokens}, which {beyond} {limit}"))
}

/// Only the full vector of gemini-embedding-001 has length 1.
pub(in super::super) fn cut_from(model: &ModelSpec, dims: usize) -> Option<usize> {
    (model.family.starts_with("gemini-embedding") && dims < model.dims).then_some(model.dims)
}
