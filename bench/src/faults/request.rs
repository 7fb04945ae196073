//! One request of a client, and what it was told.

use std::{sync::Arc, time::Duration};

use embermesh_types::NanoUsd;
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use super::{FaultError, fleet::MODEL};

/// Length of the vectors: short, so that the load driver is not what is measured.
const DIMENSIONS: usize = 64;
/// No call takes longer than an outage and the retries after it.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The same for an operator's, who may ask for all books to be recomputed: longer than a gateway takes.
const LONG_TIMEOUT: Duration = Duration::from_secs(70);
/// Letters that take about as many tokens as bytes, so that what a text can cost at most is near what it costs.
const DENSE: [char; 8] = ['ᚠ', 'ᚢ', 'ᚦ', 'ᚨ', 'ᚱ', 'ᚲ', 'ᚷ', 'ᚹ'];

/// A client of all gateways with one key.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    urls: Arc<[String]>,
    key: Arc<str>,
}

/// A whole answer with vectors: what the client may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request's id.
    pub request: String,
    /// What the client was told that it costs.
    pub cost: NanoUsd,
}

impl Client {
    /// A client with this key.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(urls: &[String], key: &str) -> Result<Self, FaultError> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { http, urls: urls.into(), key: key.into() })
    }

    /// How many gateways it knows.
    #[must_use]
    pub fn gateways(&self) -> usize {
        self.urls.len()
    }

    /// Sends a request to a gateway of this number; its status and its answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn send(
        &self,
        method: reqwest::Method,
        gateway: usize,
        path: &str,
        body: Option<String>,
    ) -> Result<(u16, Value), FaultError> {
        let url = self.urls.get(gateway).ok_or("there is no such gateway")?;
        let mut request = self.http.request(method, format!("{url}{path}")).timeout(LONG_TIMEOUT);
        request = request.header("x-api-key", &*self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Embeds; `Err` holds the status, 0 without a whole answer, and what else was said.
    ///
    /// # Errors
    /// When the request was not answered with vectors.
    pub async fn embed(&self, gateway: usize, ask: &Ask) -> Result<Answered, (u16, String)> {
        let none = |error: &dyn std::error::Error| (0, error.to_string());
        let url = self.urls.get(gateway).ok_or((0, "there is no such gateway".to_owned()))?;
        let request = self.http.post(format!("{url}{}", ask.path())).header("x-api-key", &*self.key);
        let request = request.header("x-agent-id", &ask.agent).json(&ask.body());
        let answer = request.send().await.map_err(|error| none(&error))?;
        let status = answer.status().as_u16();
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (request, cost) = (header("x-request-id"), header("x-embermesh-cost-usd"));
        let text = answer.text().await.map_err(|error| none(&error))?;
        if status != 200 {
            return Err((status, text));
        }
        match cost.parse() {
            Ok(cost) => Ok(Answered { request, cost }),
            Err(error) => Err((0, format!("request {request} names no cost: {error}"))),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// As whom.
    pub agent: String,
    /// One on Embermesh's own route, several on OpenAI's.
    pub texts: Vec<String>,
}

impl Ask {
    const fn path(&self) -> &'static str {
        if self.texts.len() == 1 { "/api/v1/embeddings" } else { "/v1/embeddings" }
    }

    fn body(&self) -> Value {
        match &*self.texts {
            [text] => json!({
                "agent_id": self.agent, "text": text, "model": MODEL, "dimensions": DIMENSIONS, "store": false,
                "return_vector": false,
            }),
            texts => json!({"model": MODEL, "input": texts, "dimensions": DIMENSIONS}),
        }
    }
}

/// A text that nobody has asked for, of a random length; `name` is unique.
#[must_use]
pub fn text(name: &str, dice: &mut StdRng) -> String {
    let letters = dice.random_range(4..40);
    let dense: String = (0..letters).map(|_| DENSE[dice.random_range(0..DENSE.len())]).collect();
    format!("{name} {dense}")
}
