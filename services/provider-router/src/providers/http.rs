//! The HTTP client of all providers: pooled, without redirects, and exact about what may have been billed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{Billing, ProviderError, Remedy};

/// 2,048 vectors of 4,096 dimensions as JSON floats stay below this.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Longest wait that a provider may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A pooled client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpClient {
    /// Trusts the machine's certificate authorities.
    pub fn new() -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            // a request is repeated by the router alone, which knows whether it may have been billed
            .retry_canceled_requests(false)
            .build(https);
        Ok(Self(client))
    }

    /// Sends a request and reads the whole answer within `timeout`. Statuses other than 2xx are errors.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Bytes, ProviderError> {
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = timeout.as_secs_f32();
                Err(ProviderError::failed(format!("no answer within {seconds} s"), Billing::Unknown))
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ProviderError> {
        let response = self.0.request(request).await.map_err(|error| {
            // before a connection stands nothing can have been billed
            let billing = if error.is_connect() { Billing::NotBilled } else { Billing::Unknown };
            let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
            tracing::debug!(%error, cause = ?std::error::Error::source(&error).map(ToString::to_string), what);
            ProviderError::failed(what, billing)
        })?;
        let (head, body) = response.into_parts();
        let broke = |_| ProviderError::failed("the answer broke off", Billing::Unknown);
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(broke)?.to_bytes();
        if head.status.is_success() { Ok(body) } else { Err(refusal(head.status, &head.headers)) }
    }
}

/// What a status means. The provider's own text is not repeated: it may quote the input.
fn refusal(status: StatusCode, headers: &HeaderMap) -> ProviderError {
    let (remedy, billing, unhealthy) = verdict(status.as_u16());
    let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ProviderError {
        message: format!("the provider answered {status}"),
        remedy,
        billing,
        unhealthy,
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
    }
}

/// What to do about a status, whether it may have been billed, and whether the deployment is at fault.
const fn verdict(status: u16) -> (Remedy, Billing, bool) {
    use Billing::{NotBilled, Unknown};
    match status {
        429 => (Remedy::Retry, NotBilled, false),
        // the credential or the account; another deployment has its own
        401..=403 => (Remedy::Elsewhere, NotBilled, true),
        // no such model or path here
        404 | 405 => (Remedy::Elsewhere, NotBilled, false),
        // a proxy gave up; what stands behind it may have answered
        408 | 502 | 504 | 524 => (Remedy::Retry, Unknown, true),
        409 | 425 => (Remedy::Retry, NotBilled, false),
        400..=499 => (Remedy::GiveUp, NotBilled, false),
        _ => (Remedy::Retry, NotBilled, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do_what_was_billed_and_who_is_at_fault() {
        use Billing::{NotBilled, Unknown};
        for (status, expected) in [
            (302, (Remedy::Retry, NotBilled, true)),
            (400, (Remedy::GiveUp, NotBilled, false)),
            (401, (Remedy::Elsewhere, NotBilled, true)),
            (402, (Remedy::Elsewhere, NotBilled, true)),
            (403, (Remedy::Elsewhere, NotBilled, true)),
            (404, (Remedy::Elsewhere, NotBilled, false)),
            (408, (Remedy::Retry, Unknown, true)),
            (413, (Remedy::GiveUp, NotBilled, false)),
            (422, (Remedy::GiveUp, NotBilled, false)),
            (429, (Remedy::Retry, NotBilled, false)),
            (500, (Remedy::Retry, NotBilled, true)),
            (502, (Remedy::Retry, Unknown, true)),
            (503, (Remedy::Retry, NotBilled, true)),
            (504, (Remedy::Retry, Unknown, true)),
            (529, (Remedy::Retry, NotBilled, true)),
        ] {
            let error = refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert_eq!((error.remedy, error.billing, error.unhealthy), expected, "{status}");
        }
    }

    #[test]
    fn a_wait_is_capped() {
        let headers = [(http::header::RETRY_AFTER, "86400".parse().unwrap())].into_iter().collect();
        assert_eq!(refusal(StatusCode::TOO_MANY_REQUESTS, &headers).retry_after, Some(MAX_RETRY_AFTER));
    }
}
