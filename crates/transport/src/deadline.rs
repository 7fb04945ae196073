//! Enforces `grpc-timeout`, which a client over an in-process server would carry in vain.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use embermesh_errors::{Code, Error};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use tonic::{Status, server::NamedService};
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

#[derive(Clone, Debug)]
pub(crate) struct DeadlineLayer;

#[derive(Clone, Debug)]
pub(crate) struct Deadline<S>(S);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline(inner)
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
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let left = read(request.headers());
        let call = self.0.call(request);
        match left {
            None => Box::pin(call),
            Some(left) => Box::pin(async move {
                match tokio::time::timeout(left, call).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let error = Error::new(Code::DeadlineExceeded, "the deadline of the call has passed");
                        Ok(Status::from(error).into_http())
                    }
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("50m", Some(Duration::from_millis(50))),
            ("2S", Some(Duration::from_secs(2))),
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("5x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            assert_eq!(read(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_written_timeout_is_read_back_rounded_up() {
        let mut headers = HeaderMap::new();
        write(&mut headers, Duration::from_micros(1_500));
        assert_eq!(read(&headers), Some(Duration::from_millis(2)));
        write(&mut headers, Duration::from_secs(1_000_000_000));
        assert_eq!(read(&headers), Some(Duration::from_millis(99_999_999)));
    }
}
