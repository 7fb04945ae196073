//! Azure OpenAI: OpenAI's format at addresses of Azure's own, by its deployment URLs and by its v1 API.
//!
//! What Azure calls a deployment is the provider's name of the model here.

use async_trait::async_trait;
use embermesh_config::Provider as Entry;
use http::{HeaderName, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, Provider, ProviderAnswer, ProviderCall, ProviderError,
    connect::options, http::HttpClient, json::JsonApi, openai::wire,
};

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const V1: &str = "/openai/v1";
/// One segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A resource of Azure OpenAI.
#[derive(Debug)]
pub(crate) struct Azure {
    api: JsonApi,
    address: Address,
}

#[derive(Debug)]
enum Address {
    /// Names the deployment in the body.
    V1(Uri),
    /// `{base}/openai/deployments/{deployment}/embeddings?api-version={version}`.
    Deployments { base: String, version: String },
}

impl Azure {
    /// The resource at `base_url`; one that ends in `/openai/v1` means the v1 API, which has no versions.
    pub fn new(client: HttpClient, entry: &Entry) -> Result<Self, BadEntry> {
        let base = options::required("base_url", entry.base_url.as_ref())?.trim_end_matches('/');
        let key = options::required("api_key", entry.api_key.as_ref())?;
        let address = if base.ends_with(V1) {
            if entry.api_version.is_some() {
                return Err(BadEntry::Useless { kind: "the v1 API of azure_openai", option: "api_version" });
            }
            Address::V1(options::url("base_url", base, "/embeddings")?)
        } else {
            let version = options::required("api_version", entry.api_version.as_ref())?;
            options::url("base_url", base, "")?;
            let version = utf8_percent_encode(version, SEGMENT).to_string();
            Address::Deployments { base: base.to_owned(), version }
        };
        let credential = Some((API_KEY, options::header_value(key.reveal())?));
        Ok(Self {
            api: JsonApi { client, name: "Azure OpenAI", credential, classify: wire::classify },
            address,
        })
    }
}

#[async_trait]
impl Provider for Azure {
    fn limits(&self, _model: &CatalogModel) -> BatchLimits {
        wire::LIMITS
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let (url, model) = match &self.address {
            Address::V1(url) => (url.clone(), Some(&*call.name)),
            Address::Deployments { base, version } => {
                let deployment = utf8_percent_encode(&call.name, SEGMENT);
                let url = format!("{base}/openai/deployments/{deployment}/embeddings?api-version={version}");
                let wrong = |_| ProviderError::new(Failure::Local, "the deployment's name makes no URL");
                (url.parse().map_err(wrong)?, None)
            }
        };
        let answer: wire::Answer = self.api.send(url, &call, wire::body(model, &call)).await?;
        answer.into_answer(call.texts.len())
    }
}
