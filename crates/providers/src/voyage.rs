//! Voyage AI's embeddings API.
//!
//! `truncation` is always off: a text that is too long is an error, never cut in silence.

use std::sync::Arc;

use async_trait::async_trait;
use embermesh_config::Provider as Entry;
use embermesh_types::TokenCount;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, Provider, ProviderAnswer, ProviderCall, ProviderError,
    Usage,
    connect::options,
    http::{HttpClient, Refusal, by_status},
    json::JsonApi,
    numbers::{Count, Vector},
    verify::in_order,
};

const DEFAULT_BASE_URL: &str = "https://api.voyageai.com/v1";

/// An account at Voyage.
#[derive(Debug)]
pub(crate) struct Voyage {
    api: JsonApi,
    url: Uri,
}

impl Voyage {
    /// Voyage itself, or what answers for it at `base_url`.
    pub fn new(client: HttpClient, entry: &Entry) -> Result<Self, BadEntry> {
        let key = options::required("api_key", entry.api_key.as_ref())?;
        let base = entry.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL);
        let credential = Some(options::bearer(key)?);
        let api = JsonApi { client, name: "Voyage", credential, classify };
        Ok(Self { api, url: options::url("base_url", base, "/embeddings")? })
    }
}

/// Most tokens over all texts of a call; a model that is not known here gets the least.
fn most_tokens(model: &str) -> u64 {
    match model {
        "voyage-4-lite" | "voyage-3.5-lite" => 1_000_000,
        "voyage-4" | "voyage-3.5" | "voyage-2" => 320_000,
        _ => 120_000,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<&'static str>,
    truncation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
    encoding_format: &'static str,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<Item>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Item {
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Deserialize)]
struct Counts {
    #[serde(default)]
    total_tokens: Count,
}

impl Answer {
    fn into_answer(self, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        let tokens = self.usage.and_then(|usage| usage.total_tokens.0);
        let vectors = self.data.into_iter().map(|item| (Some(item.index), item.embedding.0)).collect();
        let vectors = in_order(asked, vectors).map_err(|bad| ProviderError::bad_answer(bad.to_string()))?;
        Ok(ProviderAnswer { vectors, usage: Usage { tokens: tokens.map(TokenCount), characters: None } })
    }
}

/// Voyage has no codes: 400 is every fault of the request, told apart by its sentence.
fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    match by_status(status, headers, body) {
        Failure::Refused if Refusal::read(body).is_too_long() => Failure::TooLong,
        failure => failure,
    }
}

#[async_trait]
impl Provider for Voyage {
    fn limits(&self, model: &CatalogModel) -> BatchLimits {
        BatchLimits { texts: 1000, tokens: most_tokens(&model.id), bytes: u64::MAX }
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let body = Body {
            model: &call.name,
            input: &call.texts,
            input_type: call.distinguished().map(crate::InputType::as_str),
            truncation: false,
            output_dimension: call.shortened(),
            encoding_format: "base64",
        };
        let answer: Answer = self.api.post(self.url.clone(), &call, &body).await?;
        answer.into_answer(call.texts.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mangling;

    #[test]
    fn a_sentence_tells_too_long_from_refused() {
        for (status, detail, expected) in [
            (
                400,
                "Request to model 'voyage-4-large' failed. The example at index 0 in your batch has too many tokens and does not fit into the model's context window of 32000 tokens.",
                Failure::TooLong,
            ),
            (
                400,
                "Request to model 'voyage-code-3' failed. The max allowed tokens per submitted batch is 120000. Your batch has 124417 tokens after truncation.",
                Failure::Refused,
            ),
            (400, "Value '3' supplied for argument 'output_dimension' is not valid", Failure::Refused),
            (401, "Provided API key is invalid.", Failure::Unauthorized),
            (429, "You have not yet added your payment method in the billing page", Failure::Throttled),
        ] {
            let body = serde_json::json!({ "detail": detail }).to_string();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(classify(status, &HeaderMap::new(), body.as_bytes()), expected, "{detail}");
        }
    }

    proptest! {
        #[test]
        fn a_mangled_answer_never_gives_another_count(
            asked in 0_usize..4,
            got in 0_usize..4,
            edits in mangling::edits(),
        ) {
            let item = |i: usize| format!(r#"{{"object":"embedding","embedding":[0.5,-1],"index":{i}}}"#);
            let data: Vec<_> = (0..got).map(item).collect();
            let json = format!(r#"{{"data":[{}],"usage":{{"total_tokens":3}}}}"#, data.join(","));
            mangling::check(json, &edits, asked, Answer::into_answer)?;
        }
    }
}
