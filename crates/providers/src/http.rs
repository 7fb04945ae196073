//! The HTTP client of all providers: pooled, without redirects, and exact about what may have been billed.
//!
//! What is known to be unsent: everything before a connection is there (name, TCP, TLS, however long they take), and a request
//! that hyper hands back unwritten because its pooled connection had been closed meanwhile. The latter goes out again on
//! another connection, so an idle connection that a server closes is nobody's failure. Once a byte may have left, nothing is
//! provable: a server that closes in the very moment of the write looks like one that read the request and fell over, and the
//! call is [`Failure::Broken`]. Idle connections are let go early to keep that moment rare.

mod classify;
mod connection;
mod guarded;
mod pool;
mod retry_after;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service};

use crate::{Failure, ProviderError, google_error::retry_info};

use embermesh_telemetry::Trace;

pub(crate) use classify::{Refusal, by_status};
use connection::{Connection, Sent};
use embermesh_egress::Rules;
pub(crate) use guarded::within;
use guarded::{Resolve, TcpConnector};
use pool::{Place, Pool};
pub(crate) use retry_after::retry_after;

/// 2,048 vectors of 4,096 dimensions as JSON floats stay below this.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What is read of an unsuccessful answer.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// How long the rest of an unsuccessful answer is waited for: its status has said nearly all.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// Until name, TCP and TLS are through.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Memory taken for an answer before all of it has come.
const MAX_RESERVED: usize = 1024 * 1024;
/// New connections that may turn out to be closed before a request gives up.
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
pub(crate) struct HttpClient<R = GaiResolver> {
    connector: HttpsConnector<TcpConnector<R>>,
    pool: Arc<Pool>,
}

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
        Ok(Self { connector: https, pool: Arc::default() })
    }

    /// Sends a request and reads the whole answer within `timeout`. Statuses other than 2xx are errors. Dropping the future
    /// closes the connection.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        timeout: Duration,
        classify: impl FnOnce(StatusCode, &HeaderMap, &[u8]) -> Failure + Send,
    ) -> Result<Answer, ProviderError> {
        let deadline = Instant::now() + timeout;
        let place = address(&mut request)?;
        if let Some(trace) = Trace::current() {
            trace.write(request.headers_mut());
        }
        let (mut connection, answer) = self.head_of(request, &place, deadline).await?;
        let (head, mut body) = answer.into_parts();
        if !head.status.is_success() {
            let said = what_is_said(&mut connection, &mut body, deadline).await;
            if said.is_some() {
                self.keep(place, connection).await;
            }
            let body = said.unwrap_or_default();
            tracing::debug!(status = head.status.as_u16(), request_id = ?head.headers.get("x-request-id"), "call refused");
            return Err(ProviderError {
                // the provider's own text is not repeated: it may quote the input
                message: format!("the provider answered {}", head.status),
                failure: classify(head.status, &head.headers, &body),
                retry_after: retry_after(&head.headers).or_else(|| retry_info(&body)),
            });
        }
        match timeout_at(deadline, read(&mut connection, &mut body, MAX_ANSWER_BYTES)).await {
            Ok(Ok(body)) => {
                self.keep(place, connection).await;
                Ok(Answer { headers: head.headers, body })
            }
            Ok(Err(Unread::TooLarge)) => {
                let message = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
                Err(ProviderError::bad_answer(message))
            }
            Ok(Err(Unread::Broken(error))) => {
                tracing::debug!(%error, "the answer broke off");
                Err(ProviderError::new(Failure::Broken, "the answer broke off"))
            }
            Err(_) => Err(ProviderError::new(Failure::TimedOut, "the answer was not complete in time")),
        }
    }

    /// The head of the answer, and the connection that its body comes over.
    async fn head_of(
        &self,
        mut request: Sent,
        place: &Place,
        deadline: Instant,
    ) -> Result<(Box<Connection>, Response<Incoming>), ProviderError> {
        let mut made = 0;
        while made <= MAX_UNSENT {
            // those that were closed while they were idle are found out one after the other, and tell nothing of the provider
            let mut connection = match self.pool.take(place) {
                Some(connection) => connection,
                None => {
                    made += 1;
                    self.connect(place, deadline).await?
                }
            };
            let late = |_| ProviderError::new(Failure::TimedOut, "no answer in time");
            let mut error = match timeout_at(deadline, connection.send(request)).await.map_err(late)? {
                Ok(answer) => return Ok((connection, answer)),
                Err(error) => error,
            };
            let unwritten = error.take_message();
            let error = error.into_error();
            let Some(unwritten) = unwritten else {
                tracing::debug!(%error, "the connection broke");
                return Err(ProviderError::new(Failure::Broken, "the connection broke"));
            };
            tracing::debug!(%error, "a connection had been closed");
            request = unwritten;
        }
        Err(ProviderError::new(Failure::Unreachable, "cannot connect"))
    }

    /// A connection of its own. Nothing is written before it is there.
    async fn connect(&self, place: &Place, deadline: Instant) -> Result<Box<Connection>, ProviderError> {
        let connected_by = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        let connecting = async {
            let stream = self.connector.clone().call(root_of(place)?).await?;
            Ok::<_, BoxError>(Box::new(Connection::over(stream).await?))
        };
        match timeout_at(connected_by, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(error, "cannot connect");
                Err(ProviderError::new(Failure::Unreachable, "cannot connect"))
            }
            Err(_) => Err(ProviderError::new(Failure::Unreachable, "no connection in time")),
        }
    }

    /// Keeps a connection for the next call, after an answer that was read to its end.
    async fn keep(&self, place: Place, mut connection: Box<Connection>) {
        if connection.is_reusable().await {
            self.pool.put(place, connection);
        }
    }
}

/// Where a request goes. Its URI becomes what an HTTP/1 server reads, with the host in its header.
fn address(request: &mut Sent) -> Result<Place, ProviderError> {
    let unsendable = || ProviderError::new(Failure::Local, "cannot build the request: its URL names no host");
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let (Some(scheme), Some(authority)) = (uri.scheme, uri.authority) else { return Err(unsendable()) };
    let path = uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    if !request.headers().contains_key(HOST) {
        let host = host(&scheme, &authority).ok_or_else(unsendable)?;
        request.headers_mut().insert(HOST, host);
    }
    Ok((scheme, authority))
}

/// Without what a URL may hold before the host, and without the port that goes without saying.
fn host(scheme: &Scheme, authority: &Authority) -> Option<HeaderValue> {
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let named = authority.as_str().rsplit('@').next().unwrap_or_default();
    match authority.port_u16() {
        Some(port) if port != usual => HeaderValue::from_str(named).ok(),
        _ => HeaderValue::from_str(authority.host()).ok(),
    }
}

fn root_of((scheme, authority): &Place) -> Result<Uri, http::Error> {
    Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/").build()
}

/// Why an answer has no body.
enum Unread {
    TooLarge,
    Broken(hyper::Error),
}

/// Reads a body of at most so many bytes to its end. What comes in one piece is not copied.
async fn read(connection: &mut Connection, body: &mut Incoming, most: usize) -> Result<Bytes, Unread> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > most {
        return Err(Unread::TooLarge);
    }
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = connection.frame(body).await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > most {
            return Err(Unread::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(declared.min(MAX_RESERVED).max(first.len() + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The body of an unsuccessful answer; nothing unless it comes in time and is short.
async fn what_is_said(connection: &mut Connection, body: &mut Incoming, deadline: Instant) -> Option<Bytes> {
    let patience = deadline.min(Instant::now() + REFUSAL_PATIENCE);
    timeout_at(patience, read(connection, body, MAX_REFUSAL_BYTES)).await.ok()?.ok()
}
