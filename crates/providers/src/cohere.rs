//! Cohere's embed API, version 2.
//!
//! `truncate` is always `NONE`: a text that is too long is an error, never cut in silence. Vectors come as base64 of their f32,
//! and are taken as floats from servers that answer those.

use std::sync::Arc;

use async_trait::async_trait;
use embermesh_config::Provider as Entry;
use embermesh_types::TokenCount;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, InputType, Provider, ProviderAnswer, ProviderCall,
    ProviderError, Usage,
    connect::options,
    http::{HttpClient, Refusal, by_status},
    json::JsonApi,
    numbers::{Count, Vector},
    verify::BadAnswer,
};

const DEFAULT_BASE_URL: &str = "https://api.cohere.com";

/// An account at Cohere.
#[derive(Debug)]
pub(crate) struct Cohere {
    api: JsonApi,
    url: Uri,
}

impl Cohere {
    /// Cohere itself, or what answers for it at `base_url`, which may or may not end in `/v2`.
    pub fn new(client: HttpClient, entry: &Entry) -> Result<Self, BadEntry> {
        let key = options::required("api_key", entry.api_key.as_ref())?;
        let base = entry.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL).trim_end_matches('/');
        let path = if base.ends_with("/v2") { "/embed" } else { "/v2/embed" };
        let credential = Some(options::bearer(key)?);
        let api = JsonApi { client, name: "Cohere", credential, classify };
        Ok(Self { api, url: options::url("base_url", base, path)? })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    texts: &'a [Arc<str>],
    input_type: &'static str,
    embedding_types: [&'static str; 1],
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    embeddings: Embeddings,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct Embeddings {
    #[serde(default)]
    base64: Option<Vec<Vector>>,
    #[serde(default)]
    float: Option<Vec<Vector>>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    billed_units: Option<BilledUnits>,
}

#[derive(Debug, Deserialize)]
struct BilledUnits {
    #[serde(default)]
    input_tokens: Count,
}

impl Answer {
    /// Cohere numbers nothing: the order of the texts is the order of the vectors.
    fn into_answer(self, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        let vectors = self.embeddings.base64.or(self.embeddings.float).unwrap_or_default();
        if vectors.len() != asked {
            return Err(ProviderError::bad_answer(
                BadAnswer::Count { asked, got: vectors.len() }.to_string(),
            ));
        }
        let tokens = self.meta.and_then(|meta| meta.billed_units).and_then(|units| units.input_tokens.0);
        let vectors = vectors.into_iter().map(|vector| vector.0).collect();
        Ok(ProviderAnswer { vectors, usage: Usage { tokens: tokens.map(TokenCount), characters: None } })
    }
}

/// Cohere has no codes, only sentences.
fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let failure = by_status(status, headers, body);
    let refusal = Refusal::read(body);
    match failure {
        Failure::Refused if refusal.is_too_long() || refusal.says("too many tokens") => Failure::TooLong,
        // a trial key has a limit a minute and one a month
        Failure::Throttled if refusal.says("/ month") || refusal.says("per month") => Failure::Exhausted,
        failure => failure,
    }
}

#[async_trait]
impl Provider for Cohere {
    fn limits(&self, _model: &CatalogModel) -> BatchLimits {
        BatchLimits::texts(96)
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let body = Body {
            model: &call.name,
            texts: &call.texts,
            // required, also by models for which it means nothing
            input_type: match call.distinguished().unwrap_or_default() {
                InputType::Document => "search_document",
                InputType::Query => "search_query",
            },
            embedding_types: ["base64"],
            truncate: "NONE",
            output_dimension: call.shortened(),
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
    fn a_sentence_says_what_the_status_does_not() {
        for (status, message, expected) in [
            (400, "invalid request: text at index 0 is too long", Failure::TooLong),
            (400, "too many tokens: 9000 > 512", Failure::TooLong),
            (400, "invalid request: valid input_type must be provided", Failure::Refused),
            (
                429,
                "You are using a Trial key, which is limited to 40 API calls / minute.",
                Failure::Throttled,
            ),
            (
                429,
                "You are using a Trial key, which is limited to 1000 API calls / month.",
                Failure::Exhausted,
            ),
            (401, "invalid api token", Failure::Unauthorized),
            (404, "model 'x' not found", Failure::NotHere),
            (498, "blocked", Failure::Refused),
        ] {
            let body = serde_json::json!({ "message": message }).to_string();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(classify(status, &HeaderMap::new(), body.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn both_forms_of_vectors_and_counts_are_read() {
        for (json, tokens) in [
            (
                r#"{"embeddings":{"base64":["AACAPw=="]},"meta":{"billed_units":{"input_tokens":3.0}}}"#,
                Some(3),
            ),
            (
                r#"{"embeddings":{"float":[[1]],"base64":null},"meta":{"billed_units":{"input_tokens":3}}}"#,
                Some(3),
            ),
            (r#"{"embeddings":{"float":[[1.0]],"int8":null},"texts":["a"],"meta":null}"#, None),
        ] {
            let answer = serde_json::from_str::<Answer>(json).unwrap().into_answer(1).unwrap();
            assert_eq!(answer.vectors[0][..], 1.0_f32.to_le_bytes(), "{json}");
            assert_eq!(answer.usage.tokens, tokens.map(TokenCount), "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_mangled_answer_never_gives_another_count(
            asked in 0_usize..4,
            got in 0_usize..4,
            edits in mangling::edits(),
        ) {
            let vectors = vec![r#""AACAPwAAAEA=""#; got].join(",");
            let json =
                format!(r#"{{"embeddings":{{"base64":[{vectors}]}},"meta":{{"billed_units":{{"input_tokens":3}}}}}}"#);
            mangling::check(json, &edits, asked, Answer::into_answer)?;
        }
    }
}
