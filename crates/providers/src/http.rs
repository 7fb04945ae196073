//! The HTTP client of all providers: pooled, without redirects, and exact about what may have been billed.
//!
//! What is known to be unsent: everything before a connection is there (name, TCP, TLS, however long they take), and a request
//! that hyper hands back unwritten because its pooled connection had been closed meanwhile. The latter goes out again on
//! another connection, so an idle connection that a server closes is nobody's failure. Once a byte may have left, nothing is
//! provable: a server that closes in the very moment of the write looks like one that read the request and fell over, and the
//! call is [`Failure::Broken`]. Idle connections are let go early to keep that moment rare.

mod classify;
mod guarded;
mod retry_after;
#[cfg(test)]
mod tests;

use std::{error::Error as StdError, pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{capture_connection, dns::GaiResolver},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{Failure, ProviderError, google_error::retry_info};

pub(crate) use classify::{Refusal, by_status};
use embermesh_egress::Rules;
pub(crate) use guarded::within;
use guarded::{Resolve, TcpConnector};
pub(crate) use retry_after::retry_after;

/// 2,048 vectors of 4,096 dimensions as JSON floats stay below this.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What is read of an unsuccessful answer.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// How long the rest of an unsuccessful answer is waited for: its status has said nearly all.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// Until name, TCP and TLS are through.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 60 s of AWS load balancers, the shortest of the large providers' own.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Idle connections kept to one host.
const MAX_IDLE: usize = 128;
/// Pooled connections that may turn out to be closed before a request gives up.
const MAX_UNSENT: u32 = 3;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Tells from an unsuccessful answer what kind of failure it is; the body is there for APIs whose status does not say enough.
pub(crate) type Classify = fn(StatusCode, &HeaderMap, &[u8]) -> Failure;

/// A pooled client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient<R = GaiResolver>(Client<HttpsConnector<TcpConnector<R>>, Full<Bytes>>);

impl HttpClient {
    /// Trusts the machine's certificate authorities.
    pub fn new() -> std::io::Result<Self> {
        Self::over(TcpConnector::free())
    }

    /// The same, but it connects only where the rules allow.
    pub fn guarded(rules: Rules) -> std::io::Result<Self> {
        Self::over(TcpConnector::guarded(rules))
    }
}

impl<R: Resolve> HttpClient<R> {
    fn over(tcp: TcpConnector<R>) -> std::io::Result<Self> {
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            // done here, and only where nothing was written
            .retry_canceled_requests(false)
            .build(https);
        Ok(Self(client))
    }

    /// Sends a request and reads the whole answer within `timeout`. Statuses other than 2xx are errors. Dropping the future
    /// closes the connection.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        classify: impl FnOnce(StatusCode, &HeaderMap, &[u8]) -> Failure + Send,
    ) -> Result<Answer, ProviderError> {
        let deadline = Instant::now() + timeout;
        let (head, body) = self.head_of(request, deadline).await?.into_parts();
        if !head.status.is_success() {
            let body = what_is_said(body, deadline).await;
            tracing::debug!(status = head.status.as_u16(), request_id = ?head.headers.get("x-request-id"), "call refused");
            return Err(ProviderError {
                // the provider's own text is not repeated: it may quote the input
                message: format!("the provider answered {}", head.status),
                failure: classify(head.status, &head.headers, &body),
                retry_after: retry_after(&head.headers).or_else(|| retry_info(&body)),
            });
        }
        let too_large =
            || ProviderError::bad_answer(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"));
        if body.size_hint().lower() > MAX_ANSWER_BYTES as u64 {
            return Err(too_large());
        }
        match timeout_at(deadline, Limited::new(body, MAX_ANSWER_BYTES).collect()).await {
            Ok(Ok(body)) => Ok(Answer { headers: head.headers, body: body.to_bytes() }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => {
                tracing::debug!(error, "the answer broke off");
                Err(ProviderError::new(Failure::Broken, "the answer broke off"))
            }
            Err(_) => Err(ProviderError::new(Failure::TimedOut, "the answer was not complete in time")),
        }
    }

    async fn head_of(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, ProviderError> {
        let mut unsent = 0;
        loop {
            let error = match self.attempt(request.clone(), deadline).await? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let cause = error.source();
            let unwritten = cause.and_then(<dyn StdError>::downcast_ref::<hyper::Error>);
            let unwritten = unwritten.is_some_and(hyper::Error::is_canceled);
            unsent += u32::from(unwritten);
            if unwritten && unsent <= MAX_UNSENT {
                continue;
            }
            let (failure, what) = if unwritten || error.is_connect() {
                (Failure::Unreachable, "cannot connect")
            } else {
                (Failure::Broken, "the connection broke")
            };
            tracing::debug!(%error, cause, what);
            return Err(ProviderError::new(failure, what));
        }
    }

    /// The outer error is a deadline, the inner one the connection's.
    async fn attempt(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Result<Response<Incoming>, legacy::Error>, ProviderError> {
        let mut connection = capture_connection(&mut request);
        let mut response = pin!(self.0.request(request));
        let connected_by = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        tokio::select! {
            biased;
            response = &mut response => return Ok(response),
            // nothing is written before this
            _ = connection.wait_for_connection_metadata() => {}
            () = sleep_until(connected_by) => {
                return Err(ProviderError::new(Failure::Unreachable, "no connection in time"));
            }
        }
        let late = |_| ProviderError::new(Failure::TimedOut, "no answer in time");
        timeout_at(deadline, response).await.map_err(late)
    }
}

/// The body of an unsuccessful answer, as far as it comes.
async fn what_is_said(body: Incoming, deadline: Instant) -> Bytes {
    let patience = deadline.min(Instant::now() + REFUSAL_PATIENCE);
    match timeout_at(patience, Limited::new(body, MAX_REFUSAL_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    }
}
