//! Remote transports: a channel balanced over every address that a name resolves to, resolved again and again, because a channel
//! to a Kubernetes service would otherwise stay with one pod.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use embermesh_lifecycle::Tasks;
use tokio::{net::lookup_host, sync::mpsc, time::sleep};
use tonic::transport::{Channel, Endpoint as TonicEndpoint, channel::Change};

use crate::{TlsError, TlsSettings, Transport};

const RESOLVE_EVERY: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a service is: `http://host:port`, or `https://host:port` with mutual TLS.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: http::Uri,
    host: String,
    port: u16,
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not a URL of a service.
    #[error("'{0}' is not a service address, expected http://host:port")]
    Url(String),
    /// `https` without certificates, or certificates that do not fit.
    #[error("'{0}' needs TLS, set server.tls")]
    TlsMissing(String),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Endpoint {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        let wrong = || ChannelError::Url(text.to_owned());
        let url: http::Uri = text.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || !matches!(url.path(), "" | "/") {
            return Err(wrong());
        }
        let host = url
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = url.port_u16().ok_or_else(wrong)?;
        Ok(Self { url, host, port })
    }

    /// A transport balanced over the endpoint's addresses. Connects when it is first used; a name that does not resolve yet, or a
    /// server that is down, is tried again for as long as the process runs.
    pub fn connect(&self, tls: Option<&TlsSettings>, tasks: &Tasks) -> Result<Transport, ChannelError> {
        let secure = self.url.scheme_str() == Some("https");
        let tls = match (secure, tls) {
            (true, None) => return Err(ChannelError::TlsMissing(self.url.to_string())),
            (true, Some(tls)) => Some(tls.client(&self.host)?),
            (false, _) => None,
        };
        let (channel, changes) = Channel::balance_channel(64);
        tasks.spawn("resolve", resolve(self.clone(), tls, changes));
        Ok(Transport::new(channel))
    }

    fn to_address(&self, address: SocketAddr) -> Option<TonicEndpoint> {
        let scheme = self.url.scheme_str()?;
        let endpoint = TonicEndpoint::from_shared(format!("{scheme}://{address}")).ok()?;
        Some(
            endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024),
        )
    }
}

async fn resolve(
    endpoint: Endpoint,
    tls: Option<tonic::transport::ClientTlsConfig>,
    changes: mpsc::Sender<Change<SocketAddr, TonicEndpoint>>,
) {
    let mut known = BTreeSet::new();
    loop {
        match lookup_host((endpoint.host.as_str(), endpoint.port)).await {
            Ok(found) => {
                let found: BTreeSet<SocketAddr> = found.collect();
                for address in found.difference(&known) {
                    let Some(mut to) = endpoint.to_address(*address) else { continue };
                    if let Some(tls) = &tls {
                        match to.tls_config(tls.clone()) {
                            Ok(secured) => to = secured,
                            Err(error) => {
                                tracing::error!(%error, host = endpoint.host, "TLS cannot be used");
                                continue;
                            }
                        }
                    }
                    if changes.send(Change::Insert(*address, to)).await.is_err() {
                        return;
                    }
                }
                for gone in known.difference(&found) {
                    if changes.send(Change::Remove(*gone)).await.is_err() {
                        return;
                    }
                }
                known = found;
            }
            Err(error) => tracing::warn!(%error, host = endpoint.host, "cannot resolve a service"),
        }
        tokio::select! {
            () = sleep(RESOLVE_EVERY) => {}
            () = changes.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_with_a_port_and_no_path() {
        for good in ["http://127.0.0.1:9000", "https://router.svc:443/", "http://[::1]:9000"] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:9000", "http://host", "ftp://host:1", "http://host:1/path", "", "http://:1"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn https_without_certificates_is_refused() {
        let endpoint = Endpoint::parse("https://router:443").unwrap();
        assert!(matches!(endpoint.connect(None, &Tasks::new()), Err(ChannelError::TlsMissing(_))));
    }
}
