//! Enforces `grpc-timeout`, which a client over an in-process server would carry in vain.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use embermesh_errors::{Code, Error};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Layer, Service};

use crate::{Request, Response};

/// The time that `grpc-timeout` leaves; `None` when absent or malformed.
pub fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Sets `grpc-timeout`, in milliseconds rounded up: none of the time is lost.
pub(crate) fn write(headers: &mut HeaderMap, left: Duration) {
    let millis = left.as_micros().div_ceil(1000).min(99_999_999);
    if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
        headers.insert("grpc-timeout", value);
    }
}

/// What a call may take until its answer begins when it carries no deadline: longer than any call should take, and shorter than for
/// ever. A stream may then go on for as long as it likes.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);

/// Ends calls that are out of time, answer bodies included, and drops whatever still worked on them.
#[derive(Clone, Debug)]
pub(crate) struct DeadlineLayer {
    without_deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Deadline<S> {
    inner: S,
    without_deadline: Option<Duration>,
}

impl DeadlineLayer {
    /// At the side that calls: no call waits for ever.
    pub(crate) const fn for_callers() -> Self {
        Self { without_deadline: Some(LONGEST) }
    }

    /// At the side that serves: how long to wait is the caller's choice.
    pub(crate) const fn for_servers() -> Self {
        Self { without_deadline: None }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, without_deadline: self.without_deadline }
    }
}

impl<S: NamedService> NamedService for Deadline<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request> for Deadline<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let left = read(request.headers());
        let longest = left.or(self.without_deadline);
        let call = self.inner.call(request);
        let Some(longest) = longest else { return Box::pin(call) };
        Box::pin(async move {
            let end = Instant::now() + longest;
            match timeout_at(end, call).await {
                Ok(answer) if left.is_some() => Ok(answer?.map(|body| Body::new(TimedBody::new(body, end)))),
                Ok(answer) => answer,
                Err(_) => Ok(passed().into_http()),
            }
        })
    }
}

/// What a call that was too slow is answered.
pub(crate) fn passed() -> Status {
    Error::new(Code::DeadlineExceeded, "the deadline of the call has passed").into()
}

/// A body that has to end in time too.
struct TimedBody {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl TimedBody {
    fn new(body: Body, end: Instant) -> Self {
        Self { body, end: Box::pin(sleep_until(end)) }
    }
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => self.end.as_mut().poll(cx).map(|()| Some(Err(passed()))),
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
