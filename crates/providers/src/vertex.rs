//! Google Vertex AI: text embeddings by `predict`.
//!
//! Truncation is switched off, and an answer that says it cut a text all the same is not taken. The API bills some models by tokens and
//! some by characters and reports both.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use embermesh_config::Provider as Entry;
use embermesh_types::TokenCount;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, InputType, Provider, ProviderAnswer, ProviderCall,
    ProviderError, Surroundings, Usage,
    connect::options,
    google_error::classify,
    google_token::{Source, Token, Tokens},
    http::HttpClient,
    json::{ATTEMPT, parse, unsendable},
    numbers::{Count, Vector},
    verify::BadAnswer,
};

/// Most tokens of one call, whatever the model.
const TOKENS: u64 = 20_000;

/// A project's models in one region.
#[derive(Debug)]
pub(crate) struct Vertex {
    client: HttpClient,
    tokens: Tokens,
    /// Up to the model's name.
    models: String,
    names: BTreeMap<String, String>,
}

impl Vertex {
    /// The models of the entry's project in its region.
    pub fn new(client: HttpClient, entry: &Entry, surroundings: &Surroundings) -> Result<Self, BadEntry> {
        let project = options::required("project", entry.project.as_ref())?;
        let region = options::required("region", entry.region.as_ref())?;
        for (option, value) in [("project", project), ("region", region)] {
            if !is_segment(value) {
                return Err(BadEntry::Machine(format!(
                    "{option} '{value}' is no name that Google Cloud gives"
                )));
            }
        }
        let origin = match (&entry.base_url, region.as_str()) {
            (Some(url), _) => url.clone(),
            (None, "global") => "https://aiplatform.googleapis.com".to_owned(),
            (None, region) => format!("https://{region}-aiplatform.googleapis.com"),
        };
        let path = format!("/v1/projects/{project}/locations/{region}/publishers/google/models/");
        let models = options::url("base_url", &origin, &path)?.to_string();
        let source = Source::of(entry, surroundings)?;
        let tokens = Tokens::new(source, client.clone(), surroundings.clone());
        Ok(Self { client, tokens, models, names: entry.model_names.clone() })
    }

    /// Sends the call with a token, and once more with a new one if the API no longer takes one that it took before: it says so before
    /// it looks at the texts, and bills nothing.
    async fn exchange(&self, url: &Uri, call: &ProviderCall, body: &Bytes) -> Result<Bytes, ProviderError> {
        let deadline = Instant::now() + call.timeout;
        loop {
            let token = self.tokens.get(deadline - Instant::now()).await?;
            let request = request(url, call, body, &token).map_err(|error| unsendable(&error))?;
            let mut unauthenticated = false;
            let answer = self.client.send(request, deadline - Instant::now(), |status, headers, body| {
                unauthenticated = status == StatusCode::UNAUTHORIZED;
                classify(status, headers, body)
            });
            match answer.await {
                Ok(answer) => {
                    token.accept();
                    return Ok(answer.body);
                }
                Err(_) if unauthenticated && self.tokens.refused(&token) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn request(
    url: &Uri,
    call: &ProviderCall,
    body: &Bytes,
    token: &Token,
) -> http::Result<Request<Full<Bytes>>> {
    Request::post(url.clone())
        .header(header::AUTHORIZATION, token.authorization())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(ATTEMPT, call.attempt.to_string())
        .body(Full::new(body.clone()))
}

/// What stands between two slashes of a URL as it is.
fn is_segment(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b))
        && name != ".."
}

/// Where the model called `name` does what `verb` says.
pub(crate) fn model_url(models: &str, name: &str, verb: &str) -> Result<Uri, ProviderError> {
    if !is_segment(name) {
        return Err(unsendable(&format_args!("'{name}' is no name of a model")));
    }
    format!("{models}{name}{verb}").parse().map_err(|error| unsendable(&error as &dyn std::fmt::Display))
}

#[derive(Serialize)]
struct Body<'a> {
    instances: Instances<'a>,
    parameters: Parameters,
}

struct Instances<'a> {
    texts: &'a [Arc<str>],
    task_type: Option<&'static str>,
}

impl Serialize for Instances<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let task_type = self.task_type;
        to.collect_seq(self.texts.iter().map(|content| Instance { content, task_type }))
    }
}

#[derive(Serialize)]
struct Instance<'a> {
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    auto_truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

/// The names that both of Google's APIs have for what a text is for.
pub(crate) const fn task_type(input: InputType) -> &'static str {
    match input {
        InputType::Document => "RETRIEVAL_DOCUMENT",
        InputType::Query => "RETRIEVAL_QUERY",
    }
}

#[derive(Debug, Deserialize)]
struct Predictions {
    predictions: Vec<Prediction>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    embeddings: Embeddings,
}

#[derive(Debug, Deserialize)]
struct Embeddings {
    values: Vector,
    statistics: Option<Statistics>,
}

#[derive(Debug, Deserialize)]
struct Statistics {
    #[serde(default)]
    token_count: Count,
    #[serde(default)]
    truncated: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    billable_character_count: Count,
}

impl Predictions {
    fn into_answer(self, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        let got = self.predictions.len();
        if got != asked {
            return Err(ProviderError::bad_answer(BadAnswer::Count { asked, got }.to_string()));
        }
        // a sum over some of the texts only would be too small
        let mut tokens = Some(0_u64);
        let mut vectors = Vec::with_capacity(got);
        for (at, Prediction { embeddings }) in self.predictions.into_iter().enumerate() {
            let statistics = embeddings.statistics.as_ref();
            if statistics.is_some_and(|statistics| statistics.truncated) {
                return Err(ProviderError::bad_answer(format!(
                    "text {at} was cut although truncation is off"
                )));
            }
            let count = statistics.and_then(|statistics| statistics.token_count.0);
            tokens = tokens.zip(count).map(|(sum, count)| sum.saturating_add(count));
            vectors.push(embeddings.values.0);
        }
        let characters = self.metadata.and_then(|metadata| metadata.billable_character_count.0);
        Ok(ProviderAnswer { vectors, usage: Usage { tokens: tokens.map(TokenCount), characters } })
    }
}

#[async_trait]
impl Provider for Vertex {
    fn limits(&self, model: &CatalogModel) -> BatchLimits {
        let name =
            self.names.get(&model.id).or_else(|| model.provider_names.get("vertex")).unwrap_or(&model.id);
        let texts = match name.as_str() {
            name if name.starts_with("gemini-embedding") => 1,
            // only us-central1 ever took more
            name if name.starts_with("textembedding-gecko") => 5,
            _ => 250,
        };
        BatchLimits { texts, tokens: TOKENS, bytes: u64::MAX }
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        if call.shortened().is_some() && call.name.starts_with("textembedding-gecko") {
            let what = format!("{} takes no dimensions", call.name);
            return Err(ProviderError::new(Failure::Refused, what));
        }
        let url = model_url(&self.models, &call.name, ":predict")?;
        let body = Body {
            instances: Instances { texts: &call.texts, task_type: call.distinguished().map(task_type) },
            parameters: Parameters { auto_truncate: false, output_dimensionality: call.shortened() },
        };
        let body = serde_json::to_vec(&body).map_err(|error| unsendable(&error))?.into();
        let answer: Predictions = parse(self.exchange(&url, &call, &body).await?, "Vertex AI").await?;
        answer.into_answer(call.texts.len())
    }
}

#[cfg(test)]
mod tests;
