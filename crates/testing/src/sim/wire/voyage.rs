//! Voyage AI: `POST {prefix}/v1/embeddings`, OpenAI-like with its own fields, limits and errors (`{"detail": …}`).
//!
//! Tokens are counted with `cl100k_base`, not with Voyage's tokenizers.

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
const MAX_TEXTS: usize = 1000;
/// Dimensions of the models that have a choice.
const DIMS: [usize; 4] = [256, 512, 1024, 2048];

/// The format.
pub(super) struct Voyage;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    input: OneOrMany,
    model: String,
    input_type: Option<InputType>,
    #[serde(default, deserialize_with = "present")]
    truncation: Option<bool>,
    output_dimension: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    output_dtype: Option<Dtype>,
    encoding_format: Option<Encoding>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum InputType {
    Query,
    Document,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Base64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    Float,
    Int8,
    Uint8,
    Binary,
    Ubinary,
}

impl WireFormat for Voyage {
    fn models(&self) -> Vec<ModelSpec> {
        let choice = [
            "voyage-4-large",
            "voyage-4",
            "voyage-4-lite",
            "voyage-3-large",
            "voyage-3.5",
            "voyage-3.5-lite",
            "voyage-code-3",
        ]
        .map(|name| ModelSpec::asymmetric(name, 1024, &DIMS, 32_000));
        let fixed = [
            ("voyage-3", 1024, 32_000),
            ("voyage-3-lite", 512, 32_000),
            ("voyage-finance-2", 1024, 32_000),
            ("voyage-law-2", 1024, 16_000),
        ]
        .map(|(name, dims, max_tokens)| ModelSpec::asymmetric(name, dims, &[], max_tokens));
        choice.into_iter().chain(fixed).collect()
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
        let path = head.uri.path().strip_prefix(deployment.spec().prefix.as_str());
        if path != Some("/v1/embeddings") {
            return Err(detail(StatusCode::NOT_FOUND, "not found"));
        }
        if head.method != Method::POST {
            return Err(detail(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
        }
        if !bearer_fits(deployment, head) {
            return Err(self.refuse(StatusCode::UNAUTHORIZED, Problem::Injected, None));
        }
        embed(deployment, head, body)
            .map(Ask::Embed)
            .map_err(|message| detail(StatusCode::BAD_REQUEST, &message))
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        let numbers = request.numbers.first().copied().unwrap_or(Numbers::Float);
        let mut out = br#"{"object":"list","data":["#.to_vec();
        for (position, item) in answer.items.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"object":"embedding","embedding":"#);
            write_vector(&mut out, &item.vector, numbers, answer.base64);
            out.extend_from_slice(format!(r#","index":{}}}"#, item.index).as_bytes());
        }
        let (model, tokens) = (json!(answer.model), answer.tokens);
        out.extend_from_slice(
            format!(r#"],"model":{model},"usage":{{"total_tokens":{tokens}}}}}"#).as_bytes(),
        );
        Written::json(out)
    }

    fn refuse(&self, status: StatusCode, problem: Problem, _retry_after: Option<Duration>) -> Refusal {
        let message = match (problem, status.as_u16()) {
            (Problem::TokenLimit, _) => "over the rate limit of tokens per minute",
            (Problem::QuotaUsedUp, _) => "the account has no tokens left; add a payment method",
            (Problem::Content, _) => "the input was refused",
            (Problem::BodyTooLarge, _) => "the request body is too large",
            (_, 401) => "the provided API key is invalid",
            (_, 403) => "the IP address of the request is not allowed",
            (_, 429) => "over the rate limit of requests per minute",
            (_, 500..) => "the server had an error; try again later",
            _ => "simulated refusal",
        };
        detail(status, message)
    }
}

fn detail(status: StatusCode, message: &str) -> Refusal {
    Refusal { status, written: Written::serialise(&json!({"detail": message})) }
}

fn embed(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<EmbedRequest, String> {
    if !is_json(head) {
        return Err("send the body with `Content-Type: application/json`".to_owned());
    }
    let body: Body =
        serde_json::from_slice(body).map_err(|error| format!("cannot use the request body: {error}"))?;
    let model =
        deployment.model(&body.model).ok_or_else(|| format!("Model {} is not supported", body.model))?;
    let dims =
        model.dims_asked(body.output_dimension).map_err(|message| format!("output_dimension: {message}"))?;
    let numbers = match body.output_dtype.unwrap_or(Dtype::Float) {
        Dtype::Float => Numbers::Float,
        _ if !model.shortenable => return Err(format!("model {} has output_dtype float only", model.name)),
        Dtype::Int8 => Numbers::Int8,
        Dtype::Uint8 => Numbers::Uint8,
        Dtype::Binary => Numbers::Binary,
        Dtype::Ubinary => Numbers::Ubinary,
    };
    let inputs = inputs(model, body.input, body.truncation.unwrap_or(true))?;
    let input_type = body.input_type.map(|input_type| match input_type {
        InputType::Query => "query".to_owned(),
        InputType::Document => "document".to_owned(),
    });
    Ok(EmbedRequest {
        dims,
        base64: body.encoding_format.is_some(),
        numbers: vec![numbers],
        input_type,
        ..EmbedRequest::new(model, &body.model, inputs)
    })
}

fn inputs(model: &ModelSpec, input: OneOrMany, truncation: bool) -> Result<Vec<Input>, String> {
    let texts = match input {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        return Err(format!("the batch size limit is {MAX_TEXTS}, and at least 1; yours is {}", texts.len()));
    }
    if texts.iter().any(String::is_empty) {
        return Err("input cannot contain empty strings".to_owned());
    }
    let mut inputs: Vec<Input> = texts.iter().map(|text| Input::text(text)).collect();
    if truncation {
        inputs = inputs.into_iter().map(|input| input.cut(model.max_tokens, CutFrom::End)).collect();
    } else if let Some(index) = inputs.iter().position(|input| input.tokens > model.max_tokens) {
        return Err(format!(
            "Request to model '{}' failed. The example at index {index} in your batch has too many tokens and does not fit into \
             the model's context window of {} tokens",
            model.name, model.max_tokens
        ));
    }
    let (total, most) =
        (inputs.iter().map(|input| input.tokens).sum::<usize>(), max_batch_tokens(&model.family));
    if total > most {
        return Err(format!(
            "Request to model '{}' failed. The max allowed tokens per submitted batch is {most}. Your batch has {total} tokens \
             after truncation",
            model.name
        ));
    }
    Ok(inputs)
}

/// Most tokens of one request, all texts together.
fn max_batch_tokens(family: &str) -> usize {
    match family {
        "voyage-4-lite" | "voyage-3.5-lite" | "voyage-3-lite" => 1_000_000,
        "voyage-4" | "voyage-3.5" | "voyage-3" | "voyage-2" => 320_000,
        _ => 120_000,
    }
}
