//! OpenAI's embeddings API, and every server that speaks it. Asks for base64, which is a quarter of the bytes and needs no
//! number parsing, and takes floats from servers that answer them anyway.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use embermesh_types::TokenCount;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess},
};

use super::{Billing, Provider, ProviderAnswer, ProviderCall, ProviderError, http::HttpClient};
use crate::domain::verify::in_order;

const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// OpenAI's limits of one call.
const MAX_BATCH: u64 = 2048;
const MAX_BATCH_TOKENS: u64 = 300_000;

/// A deployment of OpenAI's API.
#[derive(Debug)]
pub(crate) struct OpenAi {
    client: HttpClient,
    url: Uri,
    authorization: Option<HeaderValue>,
}

/// Why an entry of the configuration makes no deployment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadEntry {
    #[error("base_url '{0}' is not a URL such as https://host/v1")]
    Url(String),
    #[error("api_key holds characters that a header cannot carry")]
    Key,
}

impl OpenAi {
    /// A deployment at `base_url`, or at OpenAI itself.
    pub fn new(client: HttpClient, base_url: Option<&str>, api_key: Option<&str>) -> Result<Self, BadEntry> {
        let base = base_url.unwrap_or(DEFAULT_BASE_URL).trim_end_matches('/');
        let wrong = || BadEntry::Url(base.to_owned());
        let url: Uri = format!("{base}/embeddings").parse().map_err(|_| wrong())?;
        let authority = url.authority().ok_or_else(wrong)?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let authorization = match api_key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| BadEntry::Key)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { client, url, authorization })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [std::sync::Arc<str>],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vector,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

#[async_trait]
impl Provider for OpenAi {
    fn max_batch(&self) -> u64 {
        MAX_BATCH
    }

    fn max_batch_tokens(&self) -> u64 {
        MAX_BATCH_TOKENS
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let body = Body {
            model: &call.model,
            input: &call.texts,
            encoding_format: "base64",
            dimensions: call.shortened.then_some(call.dimensions),
        };
        let wrong = |error: &dyn fmt::Display| {
            ProviderError::failed(format!("cannot build the request: {error}"), Billing::NotBilled)
        };
        let body = serde_json::to_vec(&body).map_err(|e| wrong(&e))?;
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-embermesh-attempt", call.attempt.to_string());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| wrong(&e))?;
        let answer = self.client.send(request, call.timeout).await?;
        // a 2xx that cannot be used was most likely billed
        let unusable = |what: String| ProviderError::failed(what, Billing::Unknown);
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| {
            unusable(format!(
                "the answer is not OpenAI's form (line {} column {})",
                error.line(),
                error.column()
            ))
        })?;
        let tokens =
            answer.usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens)).map(TokenCount);
        let vectors = answer.data.into_iter().map(|item| (item.index, item.embedding.0)).collect();
        let vectors = in_order(call.texts.len(), vectors).map_err(|bad| unusable(bad.to_string()))?;
        Ok(ProviderAnswer { vectors, tokens })
    }
}

/// A vector as little-endian bytes, read from base64 or from an array of numbers.
struct Vector(Bytes);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 or an array of numbers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = base64_simd::STANDARD.decode_to_vec(text).map_err(|_| E::custom("not base64"))?;
                if bytes.len() % 4 != 0 {
                    return Err(E::custom("not a vector of f32"));
                }
                Ok(Vector(bytes.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vector, A::Error> {
                let mut bytes = Vec::with_capacity(4 * numbers.size_hint().unwrap_or(1536));
                while let Some(number) = numbers.next_element::<f32>()? {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                Ok(Vector(bytes.into()))
            }
        }

        from.deserialize_any(Visitor)
    }
}
