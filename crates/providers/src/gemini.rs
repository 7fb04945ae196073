//! The Gemini API: `batchEmbedContents`, one request of the batch for each text. (Several texts as parts of one content would give one
//! vector for all of them.)

use std::sync::Arc;

use async_trait::async_trait;
use embermesh_config::Provider as Entry;
use embermesh_types::TokenCount;
use http::HeaderName;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    BadEntry, BatchLimits, CatalogModel, Provider, ProviderAnswer, ProviderCall, ProviderError, Usage,
    connect::options,
    google_error::classify,
    http::HttpClient,
    json::JsonApi,
    numbers::{Count, Vector},
    verify::BadAnswer,
    vertex::{model_url, task_type},
};

const DEFAULT_BASE_URL: &str = "https://generativelanguage.googleapis.com";
const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// Requests in one batch.
const LIMITS: BatchLimits = BatchLimits::texts(100);

/// The Gemini API with one key.
#[derive(Debug)]
pub(crate) struct Gemini {
    api: JsonApi,
    /// Up to the model's name.
    models: String,
}

impl Gemini {
    /// The API at the entry's `base_url`, or at Google itself.
    pub fn new(client: HttpClient, entry: &Entry) -> Result<Self, BadEntry> {
        let key = options::required("api_key", entry.api_key.as_ref())?;
        let base = entry.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL).trim_end_matches('/');
        // SDKs take the origin alone; who copies from a curl line brings the version along
        let base = base.strip_suffix("/v1beta").unwrap_or(base);
        let models = options::url("base_url", base, "/v1beta/models/")?.to_string();
        let credential = Some((KEY, options::header_value(key.reveal())?));
        Ok(Self { api: JsonApi { client, name: "the Gemini API", credential, classify }, models })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    requests: Requests<'a>,
}

/// The batch: the same question for each text.
struct Requests<'a> {
    texts: &'a [Arc<str>],
    each: Each<'a>,
}

#[derive(Clone, Copy)]
struct Each<'a> {
    model: &'a str,
    task_type: Option<&'static str>,
    output_dimensionality: Option<u32>,
}

impl Serialize for Requests<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Each { model, task_type, output_dimensionality } = self.each;
        to.collect_seq(self.texts.iter().map(|text| EmbedContent {
            model,
            content: Content { parts: [Part { text }] },
            task_type,
            output_dimensionality,
        }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embeddings {
    embeddings: Vec<Embedding>,
    /// Newer models have it, older ones do not.
    usage_metadata: Option<UsageMetadata>,
}

#[derive(Debug, Deserialize)]
struct Embedding {
    values: Vector,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    #[serde(default)]
    prompt_token_count: Count,
}

impl Embeddings {
    fn into_answer(self, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        let got = self.embeddings.len();
        if got != asked {
            return Err(ProviderError::bad_answer(BadAnswer::Count { asked, got }.to_string()));
        }
        let tokens = self.usage_metadata.and_then(|usage| usage.prompt_token_count.0);
        let usage = Usage { tokens: tokens.map(TokenCount), characters: None };
        Ok(ProviderAnswer { vectors: self.embeddings.into_iter().map(|item| item.values.0).collect(), usage })
    }
}

#[async_trait]
impl Provider for Gemini {
    fn limits(&self, _model: &CatalogModel) -> BatchLimits {
        LIMITS
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let url = model_url(&self.models, &call.name, ":batchEmbedContents")?;
        let each = Each {
            model: &format!("models/{}", call.name),
            task_type: call.distinguished().map(task_type),
            output_dimensionality: call.shortened(),
        };
        let body = Body { requests: Requests { texts: &call.texts, each } };
        let answer: Embeddings = self.api.post(url, &call, &body).await?;
        answer.into_answer(call.texts.len())
    }
}

#[cfg(test)]
mod tests;
