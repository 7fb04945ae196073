//! One request from head to answer: log, fault, limits, wire format.

use std::future::pending;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::calls::Arrival;
use super::deployment::Deployment;
use super::embedding::EmbedRequest;
use super::faults::{Fault, RetryAfter};
use super::payload::Payload;
use super::wire::{Ask, Problem, Refusal, Written};
use super::{World, wall};

/// 2,048 inputs of 8,192 tokens fit; anything larger is a runaway client.
const MAX_BODY: usize = 128 << 20;

/// An answer, still to be sent.
struct Reply {
    status: StatusCode,
    written: Written,
    retry_after: Option<RetryAfter>,
}

impl Reply {
    const fn ok(written: Written) -> Self {
        Self { status: StatusCode::OK, written, retry_after: None }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, written: refusal.written, retry_after: None }
    }
}

/// Answers a request, or never does, or asks for the connection's reset.
pub(super) async fn exchange(
    world: &World,
    index: usize,
    to_reset: &Notify,
    request: Request<Incoming>,
) -> Response<Payload> {
    let (head, body) = request.into_parts();
    let deployment = &world.deployments[index];
    let wire = deployment.wire();
    let fault = deployment.faults.take(wire.asks_for_vectors(&head));
    let id = world.calls.open(&Arrival { deployment: deployment.name(), head: &head, fault: fault.as_ref() });
    if fault == Some(Fault::ResetBeforeRead) {
        to_reset.notify_one();
        return pending().await;
    }

    let (body, ask) = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let ask = wire.read(deployment, &head, &body);
            (body, ask)
        }
        Err(_) => {
            (Bytes::new(), Err(wire.refuse(StatusCode::PAYLOAD_TOO_LARGE, Problem::BodyTooLarge, None)))
        }
    };
    if deployment.spec().record_bodies {
        world.calls.note_body(id, &body);
    }
    if let Ok(Ask::Embed(request)) = &ask {
        world.calls.describe(id, request);
    }

    match &fault {
        Some(Fault::ResetAfterRead) => {
            to_reset.notify_one();
            return pending().await;
        }
        Some(Fault::Hang) => return pending().await,
        _ => {}
    }
    let reply = reply(deployment, ask, fault.as_ref());
    let wait = waiting_time(deployment, fault.as_ref());
    // even a sleep of nothing waits for the timer's next tick
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    world.calls.close(id, reply.status);
    respond(reply, id, fault.as_ref())
}

/// What limits and content filter say. Only what would be answered with vectors is counted.
fn refuse_by_conditions(deployment: &Deployment, request: &EmbedRequest) -> Option<Reply> {
    let wire = deployment.wire();
    let conditions = deployment.conditions();
    if let Err(over) = deployment.window.admit(conditions.limits, Instant::now(), request.tokens() as u64) {
        let seconds = over.wait.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        let problem = if over.tokens { Problem::TokenLimit } else { Problem::RequestLimit };
        let wait = Duration::from_secs(seconds);
        let refusal = wire.refuse(StatusCode::TOO_MANY_REQUESTS, problem, Some(wait));
        return Some(Reply { retry_after: Some(RetryAfter::Seconds(seconds)), ..refusal.into() });
    }
    let marker = conditions.refuses_text.as_deref()?;
    let refused = request.texts().iter().any(|text| text.contains(marker));
    refused.then(|| wire.refuse(StatusCode::BAD_REQUEST, Problem::Content, None).into())
}

fn reply(deployment: &Deployment, ask: Result<Ask, Refusal>, fault: Option<&Fault>) -> Reply {
    let wire = deployment.wire();
    let mut reply = match (fault, ask) {
        (Some(Fault::Status { status, retry_after, body }), _) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let written = match body {
                Some(body) => Written::json(body.clone().into_bytes()),
                None => wire.refuse(status, Problem::Injected, retry_after.map(RetryAfter::wait)).written,
            };
            Reply { status, written, retry_after: *retry_after }
        }
        (Some(Fault::QuotaUsedUp), _) => {
            wire.refuse(StatusCode::TOO_MANY_REQUESTS, Problem::QuotaUsedUp, None).into()
        }
        (Some(Fault::ErrorWithStatus200), _) => {
            Reply::ok(wire.refuse(StatusCode::INTERNAL_SERVER_ERROR, Problem::Injected, None).written)
        }
        (_, Err(refusal)) => refusal.into(),
        (_, Ok(Ask::Other(written))) => Reply::ok(written),
        (_, Ok(Ask::Embed(request))) if let Some(refused) = refuse_by_conditions(deployment, &request) => {
            refused
        }
        (fault, Ok(Ask::Embed(request))) => {
            let seed = deployment.spec().seed.wrapping_add(deployment.conditions().drift);
            Reply::ok(wire.write(&request, &request.answer(seed, fault, wire.has_index())))
        }
    };
    if fault == Some(&Fault::TruncatedJson) {
        reply.written.body.truncate(reply.written.body.len() / 2);
    }
    reply
}

fn waiting_time(deployment: &Deployment, fault: Option<&Fault>) -> Duration {
    let asked =
        if let Some(Fault::Delay { ms }) = fault { Duration::from_millis(*ms) } else { Duration::ZERO };
    asked + deployment.latency(wall::since_epoch())
}

fn respond(reply: Reply, id: u64, fault: Option<&Fault>) -> Response<Payload> {
    let Reply { status, written: Written { headers, body }, retry_after } = reply;
    let payload = match fault {
        Some(Fault::Trickle { bytes, every_ms }) => {
            Payload::trickle(body.into(), *bytes, Duration::from_millis(*every_ms))
        }
        _ => Payload::whole(body.into()),
    };
    let mut answer = Response::new(payload);
    *answer.status_mut() = status;
    answer.headers_mut().extend(headers);
    // a format may have request ids of its own
    if !answer.headers().contains_key("x-request-id") {
        insert(answer.headers_mut(), HeaderName::from_static("x-request-id"), &format!("req_{id}"));
    }
    match retry_after {
        Some(RetryAfter::Seconds(seconds)) => insert(answer.headers_mut(), RETRY_AFTER, &seconds.to_string()),
        Some(RetryAfter::Date(seconds)) => {
            // rounded up to a whole second, since the format has no more
            let date = wall::now() + Duration::from_secs(seconds) + Duration::from_millis(999);
            insert(answer.headers_mut(), RETRY_AFTER, &httpdate::fmt_http_date(date));
        }
        Some(RetryAfter::Millis(ms)) => {
            insert(answer.headers_mut(), HeaderName::from_static("retry-after-ms"), &ms.to_string());
        }
        None => {}
    }
    answer
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
