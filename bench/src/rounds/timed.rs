//! Requests with a deadline of their own, which only gRPC carries. The client does not keep the deadline itself, so that it shows when
//! the server does not.

use std::time::{Duration, Instant};

use embermesh_proto::v1::{EmbedRequest, EmbedResponse};
use prost::Message;

use super::RoundError;

/// What came back, and after how long.
#[derive(Debug)]
pub struct Answer {
    /// The answer, or gRPC's status code and message.
    pub result: Result<EmbedResponse, (i32, String)>,
    /// From the request to the end of the answer.
    pub took: Duration,
}

/// A client of one gateway.
#[derive(Clone, Debug)]
pub struct TimedClient {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl TimedClient {
    /// A client with this key.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: &str, key: &str) -> Result<Self, RoundError> {
        let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build()?;
        Ok(Self { http, url: format!("{url}/embermesh.v1.Embeddings/Embed"), key: key.to_owned() })
    }

    /// Embeds one text within `deadline`.
    ///
    /// # Errors
    /// When there is no answer, or none that gRPC knows.
    pub async fn embed(&self, request: &EmbedRequest, deadline: Duration) -> Result<Answer, RoundError> {
        let mut frame = vec![0; 5];
        request.encode(&mut frame)?;
        let length = u32::try_from(frame.len() - 5)?;
        frame[1..5].copy_from_slice(&length.to_be_bytes());
        let started = Instant::now();
        let request =
            self.http.post(&self.url).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.header("x-api-key", &self.key);
        let answer =
            request.header("grpc-timeout", format!("{}m", deadline.as_millis())).body(frame).send().await?;
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // an error comes without a body, its status among the headers
        let status: Option<i32> = header("grpc-status").map(|status| status.parse()).transpose()?;
        let message = header("grpc-message").unwrap_or_default();
        let body = answer.bytes().await?;
        let took = started.elapsed();
        let result = match (status, body.get(5..)) {
            (Some(status), _) if status != 0 => Err((status, message)),
            (_, Some(message)) => Ok(EmbedResponse::decode(message)?),
            (_, None) => return Err("the server answered with neither a status nor a message".into()),
        };
        Ok(Answer { result, took })
    }
}
