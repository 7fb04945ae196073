//! AWS Bedrock: `POST {prefix}/model/{modelId}/invoke` for Titan and Cohere embeddings, signed; and beside it STS, for AssumeRole at
//! `POST {prefix}/` signed too. Keys from there are then good here.
//!
//! Tokens are counted with `cl100k_base`, not with the models' tokenizers. Where the real models answer only with a class of error
//! (a schema violation) the text is like theirs, since clients have nothing else to tell a text that is too long.

mod cohere;
mod error;
mod sts;
#[cfg(test)]
mod tests;
mod titan;

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::super::deployment::{Deployment, ModelSpec};
use super::super::embedding::{EmbedAnswer, EmbedRequest};
use super::super::sigv4;
use super::{Ask, Problem, Refusal, WireFormat, Written, is_json};
use error::AwsError;

/// Groups of regions that a model id may name before the model (cross-region inference).
const REGION_GROUPS: [&str; 7] = ["us", "us-gov", "eu", "apac", "jp", "au", "global"];

/// The format.
pub(super) struct Bedrock;

impl WireFormat for Bedrock {
    fn models(&self) -> Vec<ModelSpec> {
        let titan = |name, dims, allowed: &[usize], max_tokens| ModelSpec {
            allowed_dims: allowed.to_vec(),
            max_tokens,
            ..ModelSpec::new(name, dims, !allowed.is_empty())
        };
        let cohere = |name, family: &str, dims, allowed: &[usize], max_tokens| ModelSpec {
            family: family.to_owned(),
            ..ModelSpec::asymmetric(name, dims, allowed, max_tokens)
        };
        vec![
            titan("amazon.titan-embed-text-v1", 1536, &[], 8192),
            titan("amazon.titan-embed-text-v2:0", 1024, &[256, 512, 1024], 8192),
            titan("amazon.titan-embed-image-v1", 1024, &[256, 384, 1024], 256),
            cohere("cohere.embed-english-v3", "embed-english-v3.0", 1024, &[], 512),
            cohere("cohere.embed-multilingual-v3", "embed-multilingual-v3.0", 1024, &[], 512),
            cohere("cohere.embed-v4:0", "embed-v4.0", 1536, &[256, 512, 1024, 1536], 128_000),
        ]
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn asks_for_vectors(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with("/invoke")
    }

    fn read(&self, deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
        let path = head.uri.path().strip_prefix(deployment.spec().prefix.as_str());
        if head.method != Method::POST {
            return Err(AwsError::unknown_operation().refusal());
        }
        if path == Some("/") {
            return sts::answer(deployment, head, body).map(Ask::Other);
        }
        let name = path.and_then(|path| path.strip_prefix("/model/")?.strip_suffix("/invoke"));
        let name = name.ok_or_else(|| AwsError::unknown_operation().refusal())?;
        if let Some(keys) = &deployment.spec().aws {
            sigv4::verify(keys, &deployment.sessions, "bedrock", head, body)
                .map_err(|wrong| AwsError::of_signature(wrong).refusal())?;
        }
        let name = percent_decode_str(name).decode_utf8_lossy();
        embed(deployment, &name, head, body).map(Ask::Embed).map_err(AwsError::refusal)
    }

    fn write(&self, request: &EmbedRequest, answer: &EmbedAnswer) -> Written {
        let body = match Maker::of(&request.model) {
            Maker::Titan(version) => titan::write(version, answer),
            Maker::Cohere => cohere::write(request, answer),
        };
        Written::json(body)
            .header("x-amzn-bedrock-input-token-count", &answer.tokens.to_string())
            .header("x-amzn-bedrock-invocation-latency", "1")
    }

    fn refuse(&self, status: StatusCode, problem: Problem, _retry_after: Option<Duration>) -> Refusal {
        AwsError::of_problem(status, problem).refusal()
    }
}

/// Whose form of body a model takes.
#[derive(Clone, Copy)]
enum Maker {
    Titan(titan::Version),
    Cohere,
}

impl Maker {
    fn of(model: &str) -> Self {
        if model.contains("titan-embed-image") {
            Self::Titan(titan::Version::Image)
        } else if model.contains("titan-embed-text-v2") {
            Self::Titan(titan::Version::V2)
        } else if model.contains("titan") {
            Self::Titan(titan::Version::V1)
        } else {
            Self::Cohere
        }
    }
}

fn embed(deployment: &Deployment, name: &str, head: &Parts, body: &[u8]) -> Result<EmbedRequest, AwsError> {
    let model = find_model(deployment, name)?;
    if !is_json(head) {
        return Err(AwsError::validation("The content type must be application/json"));
    }
    match Maker::of(&model.name) {
        Maker::Titan(version) => titan::read(version, model, body),
        Maker::Cohere => cohere::read(model, body),
    }
}

/// By its id, with a group of regions before it, or as an ARN that ends in either.
fn find_model<'a>(deployment: &'a Deployment, name: &str) -> Result<&'a ModelSpec, AwsError> {
    let id = name.rsplit('/').next().unwrap_or(name);
    let bare = match id.split_once('.') {
        Some((group, rest)) if REGION_GROUPS.contains(&group) => rest,
        _ => id,
    };
    deployment.model(name).or_else(|| deployment.model(bare)).ok_or_else(|| {
        if name.starts_with("arn:") {
            AwsError::new(
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                "The specified resource ARN was not found",
            )
        } else {
            AwsError::validation("The provided model identifier is invalid.")
        }
    })
}
