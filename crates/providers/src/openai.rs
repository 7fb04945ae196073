//! OpenAI's embeddings API, and every server that speaks it.

pub(crate) mod wire;

use async_trait::async_trait;
use embermesh_config::Provider as Entry;
use http::Uri;

use crate::{
    BadEntry, BatchLimits, CatalogModel, Provider, ProviderAnswer, ProviderCall, ProviderError,
    connect::options, http::HttpClient, json::JsonApi,
};

const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// A deployment of OpenAI's API.
#[derive(Debug)]
pub(crate) struct OpenAi {
    api: JsonApi,
    url: Uri,
}

impl OpenAi {
    /// A deployment at the entry's `base_url`, or at OpenAI itself, which needs a key.
    pub fn new(client: HttpClient, entry: &Entry) -> Result<Self, BadEntry> {
        if entry.base_url.is_none() {
            options::required("api_key", entry.api_key.as_ref())?;
        }
        let base = entry.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL);
        let credential = entry.api_key.as_ref().map(options::bearer).transpose()?;
        let api = JsonApi { client, name: "OpenAI", credential, classify: wire::classify };
        Ok(Self { api, url: options::url("base_url", base, "/embeddings")? })
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn limits(&self, _model: &CatalogModel) -> BatchLimits {
        wire::LIMITS
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        tracing::debug!(attempt = %call.attempt, model = %call.name, texts = call.texts.len(), "asking for vectors");
        let body = wire::body(Some(&call.name), &call);
        let answer: wire::Answer = self.api.send(self.url.clone(), &call, body).await?;
        answer.into_answer(call.texts.len())
    }
}
