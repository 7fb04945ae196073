//! A client of the public REST API: JSON in, JSON out, patient with a server that is away. Knows no route.

mod connection;
mod failure;
mod keys_file;
mod patience;

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
pub(crate) use connection::{Connection, NO_SERVER};
pub(crate) use failure::{ErrorBody, Failure, Refusal};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
pub(crate) use keys_file::KeysFile;
pub(crate) use patience::Patience;
use secrecy::ExposeSecret;

/// A search may answer 1,000 texts.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// A batch may wait for a provider that is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// One server and one key.
#[derive(Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    key: HeaderValue,
    patience: Patience,
    /// Whether the server has ever answered.
    reached: Cell<bool>,
}

impl Client {
    /// A client that repeats what may succeed later, within `patience`; one that has never answered is given up sooner.
    pub fn new(connection: &Connection, patience: Patience) -> Result<Self, Failure> {
        let mut key = HeaderValue::from_str(connection.key.expose_secret())
            .map_err(|_| Failure::Usage("the API key holds characters that no key has".to_owned()))?;
        key.set_sensitive(true);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let tls = HttpsConnectorBuilder::new();
        let connector = if connection.url.starts_with("https:") {
            let no_roots =
                |error| Failure::Usage(format!("no certificate authorities on this machine: {error}"));
            tls.with_native_roots().map_err(no_roots)?.https_only().enable_http1().wrap_connector(tcp)
        } else {
            // plain HTTP must work where there are no certificate authorities, such as in a bare container
            let roots = rustls::RootCertStore::empty();
            let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| Failure::Usage(format!("TLS cannot be set up: {error}")))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            tls.with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp)
        };
        let http =
            legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { http, base: connection.url.clone(), key, patience, reached: Cell::new(false) })
    }

    /// Waits between repeats of what this client was asked for, for callers that repeat parts of an answer.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Posts JSON to a path and answers the body of a 2xx. Every call must be safe to repeat.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Bytes, Failure> {
        self.call(&Method::POST, path, Bytes::from(body)).await
    }

    /// Gets a path, which may have a query, and answers the body of a 2xx.
    pub async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.call(&Method::GET, path, Bytes::new()).await
    }

    /// Gets a path once, and answers the body whatever the status is.
    pub async fn look(&self, path: &str) -> Result<Bytes, Failure> {
        Ok(self.ask(&Method::GET, path, Bytes::new()).await?.1)
    }

    /// Puts JSON at a path and answers the body of a 2xx.
    pub async fn put(&self, path: &str, body: Vec<u8>) -> Result<Bytes, Failure> {
        self.call(&Method::PUT, path, Bytes::from(body)).await
    }

    /// Patches a path with JSON and answers the body of a 2xx.
    pub async fn patch(&self, path: &str, body: Vec<u8>) -> Result<Bytes, Failure> {
        self.call(&Method::PATCH, path, Bytes::from(body)).await
    }

    /// Deletes what is at a path and answers the body of a 2xx.
    pub async fn delete(&self, path: &str) -> Result<Bytes, Failure> {
        self.call(&Method::DELETE, path, Bytes::new()).await
    }

    async fn call(&self, method: &Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (mut patient, mut hasty) = (self.patience.waits(), self.patience.hasty().waits());
        loop {
            let failure = match self.exchange(method, path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let waits = if self.reached.get() { &mut patient } else { &mut hasty };
            let Some(wait) = failure.is_passing().then(|| waits.next(failure.retry_after())).flatten() else {
                return Err(failure);
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn exchange(&self, method: &Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.send(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        }
    }

    async fn send(&self, method: &Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (head, body) = self.ask(method, path, body).await?;
        if head.status.is_success() {
            return Ok(body);
        }
        let refusal = Refusal::read(head.status, &head.headers, &body);
        Err(match head.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::NotAuthorised(refusal),
            _ => Failure::Refused(refusal),
        })
    }

    async fn ask(&self, method: &Method, path: &str, body: Bytes) -> Result<(Parts, Bytes), Failure> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|error| Failure::Usage(format!("'{}' is not a URL: {error}", self.base)))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-api-key", self.key.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("embermesh-cli/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Failure::Usage(format!("the request cannot be built: {error}")))?;
        let response =
            self.http.request(request).await.map_err(|error| self.unreachable(innermost(&error)))?;
        self.reached.set(true);
        let (head, body) = response.into_parts();
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
            self.unreachable(format!("the answer broke off: {error}"))
        };
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(broken)?.to_bytes();
        Ok((head, body))
    }

    fn unreachable(&self, why: String) -> Failure {
        Failure::Unreachable { url: self.base.clone(), why }
    }
}

/// hyper's own text says only "client error (Connect)".
fn innermost(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
