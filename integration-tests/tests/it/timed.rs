//! Requests with a deadline of their own, which only gRPC carries. The client does not keep the deadline itself, so that it shows when
//! the server does not.

use std::time::{Duration, Instant};

use embermesh_proto::v1::{EmbedRequest, EmbedResponse};
use prost::Message as _;

use crate::running::Running;

/// gRPC's codes.
pub const DEADLINE_EXCEEDED: i32 = 4;
pub const RESOURCE_EXHAUSTED: i32 = 8;
pub const UNAVAILABLE: i32 = 14;

/// Embeds one text within `deadline`: the answer, or the status code and message; and how long that took.
pub async fn embed(
    running: &Running,
    request: &EmbedRequest,
    deadline: Duration,
) -> (Result<EmbedResponse, (i32, String)>, Duration) {
    let mut frame = vec![0; 5];
    request.encode(&mut frame).unwrap();
    let length = u32::try_from(frame.len() - 5).unwrap();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = http
        .post(format!("{}/embermesh.v1.Embeddings/Embed", running.url))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-api-key", running.keys["agent_key"].as_str().unwrap())
        .header("grpc-timeout", format!("{}m", deadline.as_millis()))
        .body(frame);
    let started = Instant::now();
    let answer = request.send().await.unwrap();
    // an error comes without a body, its status among the headers
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let status = header("grpc-status").map_or(0, |status| status.parse().unwrap());
    let message = header("grpc-message").unwrap_or_default();
    let body = answer.bytes().await.unwrap();
    let took = started.elapsed();
    if status != 0 {
        return (Err((status, message)), took);
    }
    (Ok(EmbedResponse::decode(&body[5..]).unwrap()), took)
}
