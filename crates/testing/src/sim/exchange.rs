//! One request from head to answer: log, fault, wire format.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::calls::Arrival;
use super::faults::Fault;
use super::openai::{self, Ask, Refusal};
use super::{World, control};

/// 2,048 inputs of 8,192 tokens fit; anything larger is a runaway client.
const MAX_BODY: usize = 128 << 20;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) async fn exchange(
    world: Arc<World>,
    index: usize,
    to_reset: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let deployment = &world.deployments[index];
    if let Some(action) = head.uri.path().strip_prefix("/_sim/") {
        return Ok(control::answer(&world, deployment, action, &head, body).await);
    }

    let fault = deployment.faults.take(openai::asks_for_vectors(&head));
    let id = world.calls.open(&Arrival { deployment: deployment.name(), head: &head, fault: fault.as_ref() });
    if fault == Some(Fault::ResetBeforeRead) {
        to_reset.notify_one();
        return pending().await;
    }

    let ask = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => openai::read(deployment, &head, &body.to_bytes()),
        Err(_) => Err(Refusal::body_too_large(MAX_BODY)),
    };
    if let Ok(Ask::Embed(request)) = &ask {
        world.calls.describe(id, request);
    }

    match &fault {
        Some(Fault::ResetAfterRead) => {
            to_reset.notify_one();
            return pending().await;
        }
        Some(Fault::Hang) => return pending().await,
        Some(Fault::Delay { ms }) => tokio::time::sleep(Duration::from_millis(*ms)).await,
        _ => {}
    }

    let (status, mut body, retry_after) = match (&fault, ask) {
        (Some(Fault::Status { status, retry_after_s, body }), _) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = body.clone().map_or_else(|| Refusal::injected(status).body(), String::into_bytes);
            (status, body, *retry_after_s)
        }
        (Some(Fault::ErrorWithStatus200), _) => {
            (StatusCode::OK, Refusal::injected(StatusCode::INTERNAL_SERVER_ERROR).body(), None)
        }
        (_, Err(refusal)) => (refusal.status, refusal.body(), None),
        (_, Ok(ask)) => (StatusCode::OK, openai::write(deployment, ask, fault.as_ref()), None),
    };
    if fault == Some(Fault::TruncatedJson) {
        body.truncate(body.len() / 2);
    }
    world.calls.close(id, status);

    let mut answer = json(status, body);
    if let Ok(request_id) = HeaderValue::from_str(&format!("req_{id}")) {
        answer.headers_mut().insert("x-request-id", request_id);
    }
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(answer)
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
