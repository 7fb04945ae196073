//! Cohere, version 2: `POST {prefix}/v2/embed`, texts only; errors are `{"id", "message"}`.
//!
//! Tokens are counted with `cl100k_base`, not with Cohere's tokenizers.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::super::deployment::Deployment;
use super::super::embedding::{CutFrom, EmbedAnswer, EmbedRequest, Input, Numbers};
use super::super::model::ModelSpec;
use super::numbers::write_vector;
use super::{Ask, Problem, Refusal, WireFormat, Written, bearer_fits, is_json, present};

/// Most texts of one request.
const MAX_TEXTS: usize = 96;

/// The format.
pub(super) struct Cohere;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    texts: Vec<String>,
    input_type: InputType,
    #[serde(default, deserialize_with = "present")]
    embedding_types: Option<Vec<EmbeddingType>>,
    #[serde(default, deserialize_with = "present")]
    truncate: Option<Truncate>,
    #[serde(default, deserialize_with = "present")]
    output_dimension: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    max_tokens: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InputType {
    SearchDocument,
    SearchQuery,
    Classification,
    Clustering,
}

impl InputType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SearchDocument => "search_document",
            Self::SearchQuery => "search_query",
            Self::Classification => "classification",
            Self::Clustering => "clustering",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmbeddingType {
    Float,
    Int8,
    Uint8,
    Binary,
    Ubinary,
    Base64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Truncate {
    None,
    Start,
    End,
}

impl WireFormat for Cohere {
    fn models(&self) -> Vec<ModelSpec> {
        let v3 = |name, dims| ModelSpec::asymmetric(name, dims, &[], 512);
        vec![
            ModelSpec::asymmetric("embed-v4.0", 1536, &[256, 512, 1024, 1536], 128_000),
            v3("embed-english-v3.0", 1024),
            v3("embed-english-light-v3.0", 384),
            v3("embed-multilingual-v3.0", 1024),
            v3("embed-multilingual-light-v3.0", 384),
        ]
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with("/v2/embed")
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        let path = head.uri.path().strip_prefix(deployment.spec().prefix.as_str());
        if path != Some("/v2/embed") || head.method != Method::POST {
            return Err(message(StatusCode::NOT_FOUND, "no such endpoint"));
        }
        if !bearer_fits(deployment, head) {
            return Err(self.refuse(StatusCode::UNAUTHORIZED, Problem::Injected, None));
        }
        let refuse = |text: String| message(StatusCode::BAD_REQUEST, &text);
        if !is_json(head) {
            return Err(refuse("send the body with `Content-Type: application/json`".to_owned()));
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|error| refuse(format!("invalid request: {error}")))?;
        let Some(model) = deployment.model(&body.model) else {
            return Err(message(StatusCode::NOT_FOUND, &format!("model '{}' not found", body.model)));
        };
        embed(model, body).map(Ask::Embed).map_err(refuse)
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        let texts = json!(request.texts());
        let id = id_of(texts.to_string().as_bytes());
        let mut out = format!(r#"{{"id":"{id}","embeddings":{{"#).into_bytes();
        let mut forms: Vec<(Numbers, bool)> =
            request.numbers.iter().map(|numbers| (*numbers, false)).collect();
        if request.base64 {
            forms.push((Numbers::Float, answer.base64));
        }
        for (position, (numbers, base64)) in forms.into_iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            out.extend_from_slice(format!(r#"{comma}"{}":["#, name_of(numbers, base64)).as_bytes());
            for (position, item) in answer.items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_vector(&mut out, &item.vector, numbers, base64);
            }
            out.push(b']');
        }
        let tokens = answer.tokens;
        out.extend_from_slice(
            format!(
                r#"}},"texts":{texts},"meta":{{"api_version":{{"version":"2"}},"billed_units":{{"input_tokens":{tokens}}}}},"response_type":"embeddings_by_type"}}"#
            )
            .as_bytes(),
        );
        Written::json(out)
    }

    fn refuse(&self, status: StatusCode, problem: Problem, _retry_after: Option<Duration>) -> Refusal {
        let (status, text) = match (problem, status.as_u16()) {
            (Problem::TokenLimit, _) => (status, "over the token rate limit; wait and try again later"),
            // Cohere has a status of its own for this
            (Problem::QuotaUsedUp, _) => (
                StatusCode::PAYMENT_REQUIRED,
                "the account has reached its billing limit; raise it in the dashboard",
            ),
            (Problem::Content, _) => (status, "the input was refused"),
            (Problem::BodyTooLarge, _) => (status, "the request body is too large"),
            (_, 401) => (status, "invalid api token"),
            (_, 402) => (status, "the account has reached its billing limit; raise it in the dashboard"),
            (_, 429) => (status, "over the rate limit of calls per minute; wait and try again later"),
            (_, 500..) => (status, "internal server error"),
            _ => (status, "simulated refusal"),
        };
        message(status, text)
    }
}

fn message(status: StatusCode, text: &str) -> Refusal {
    let id = id_of(text.as_bytes());
    Refusal { status, written: Written::serialise(&json!({"id": id, "message": text})) }
}

/// Looks like a UUID; equal for equal content.
fn id_of(content: &[u8]) -> String {
    let hex = blake3::hash(content).to_hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

const fn name_of(numbers: Numbers, base64: bool) -> &'static str {
    match numbers {
        Numbers::Float if base64 => "base64",
        Numbers::Float => "float",
        Numbers::Int8 => "int8",
        Numbers::Uint8 => "uint8",
        Numbers::Binary => "binary",
        Numbers::Ubinary => "ubinary",
    }
}

fn embed(model: &ModelSpec, body: Body) -> Result<EmbedRequest, String> {
    if body.texts.is_empty() || body.texts.len() > MAX_TEXTS {
        return Err(format!(
            "invalid request: 1 to {MAX_TEXTS} texts fit one request, not {}",
            body.texts.len()
        ));
    }
    if body.texts.iter().any(String::is_empty) {
        return Err("invalid request: texts must not be empty".to_owned());
    }
    let dims =
        model.dims_asked(body.output_dimension).map_err(|message| format!("output_dimension: {message}"))?;
    let types = body.embedding_types.unwrap_or_else(|| vec![EmbeddingType::Float]);
    if types.is_empty() || (1..types.len()).any(|at| types[..at].contains(&types[at])) {
        return Err("invalid request: embedding_types must name at least one type, each once".to_owned());
    }
    let most = body.max_tokens.unwrap_or(model.max_tokens).min(model.max_tokens);
    let mut inputs = Vec::with_capacity(body.texts.len());
    for text in &body.texts {
        let input = Input::text(text);
        inputs.push(match body.truncate.unwrap_or(Truncate::End) {
            Truncate::Start => input.cut(most, CutFrom::Start),
            Truncate::End => input.cut(most, CutFrom::End),
            Truncate::None if input.tokens > most => {
                return Err(format!(
                    "too many tokens: an input has {} tokens, the maximum is {most}; shorten it or set truncate to START or END",
                    input.tokens
                ));
            }
            Truncate::None => input,
        });
    }
    Ok(EmbedRequest {
        dims,
        base64: types.contains(&EmbeddingType::Base64),
        numbers: types.into_iter().filter_map(numbers_of).collect(),
        input_type: Some(body.input_type.as_str().to_owned()),
        ..EmbedRequest::new(model, &body.model, inputs)
    })
}

const fn numbers_of(embedding_type: EmbeddingType) -> Option<Numbers> {
    match embedding_type {
        EmbeddingType::Float => Some(Numbers::Float),
        EmbeddingType::Int8 => Some(Numbers::Int8),
        EmbeddingType::Uint8 => Some(Numbers::Uint8),
        EmbeddingType::Binary => Some(Numbers::Binary),
        EmbeddingType::Ubinary => Some(Numbers::Ubinary),
        EmbeddingType::Base64 => None,
    }
}
