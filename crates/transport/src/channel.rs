//! Addresses of remote services, and the transports to them: balanced over everything that a name resolves to, resolved again and
//! again, because a transport to a Kubernetes service would otherwise stay with one pod.

use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use futures::{Stream, StreamExt, stream};
use tokio::{net::lookup_host, time::sleep};

use crate::{
    TlsError, TlsSettings, Transport, connection::Dialer, deadline::DeadlineLayer, pool, pool::Registry,
};

const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// Where a service is: `http://host:port`, or `https://host:port` with mutual TLS. More hosts may follow, separated by commas, where no
/// name stands for all replicas; with TLS their certificates bear the name of the first.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: http::Uri,
    /// At least one.
    hosts: Vec<(String, u16)>,
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not a URL of a service.
    #[error("'{0}' is not a service address, expected http://host:port or http://host:port,host:port")]
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
        let mut parts = text.split(',').map(str::trim);
        let (url, first) = address(parts.next().unwrap_or_default()).ok_or_else(wrong)?;
        let mut hosts = vec![first];
        for part in parts {
            let (_, host) = address(&format!("http://{part}")).ok_or_else(wrong)?;
            hosts.push(host);
        }
        Ok(Self { url, hosts })
    }

    /// A transport balanced over the endpoint's addresses. Connects in the background; a name that does not resolve yet, or a server
    /// that is down, is tried again until the last clone of the transport is gone.
    pub fn connect(&self, tls: Option<&TlsSettings>, tasks: &Tasks) -> Result<Transport, ChannelError> {
        let dialer = self.dialer(tls)?;
        let (endpoint, tasks) = (self.clone(), tasks.clone());
        let connect = move || {
            let addresses = lookups(endpoint.hosts.clone());
            endpoint.connect_with(addresses, dialer.clone(), &tasks)
        };
        Ok(Transport { apart: Some(Arc::new(connect.clone())), ..connect() })
    }

    /// A transport balanced over the latest of `addresses`, instead of what the host's name resolves to.
    #[cfg(test)]
    pub(crate) fn connect_to(
        &self,
        addresses: impl Stream<Item = io::Result<BTreeSet<SocketAddr>>> + Send + 'static,
        tls: Option<&TlsSettings>,
        tasks: &Tasks,
    ) -> Result<Transport, ChannelError> {
        Ok(self.connect_with(addresses, self.dialer(tls)?, tasks))
    }

    /// The host that a certificate is of.
    fn name(&self) -> &str {
        self.hosts.first().map_or("", |(host, _)| host)
    }

    fn dialer(&self, tls: Option<&TlsSettings>) -> Result<Dialer, ChannelError> {
        let secure = self.url.scheme_str() == Some("https");
        let tls = match (secure, tls) {
            (true, None) => return Err(ChannelError::TlsMissing(self.url.to_string())),
            (true, Some(tls)) => Some(tls.connector()?),
            (false, _) => None,
        };
        Ok(Dialer::new(self.name(), tls)?)
    }

    fn connect_with(
        &self,
        addresses: impl Stream<Item = io::Result<BTreeSet<SocketAddr>>> + Send + 'static,
        dialer: Dialer,
        tasks: &Tasks,
    ) -> Transport {
        let (pool, registry) = pool::new(&self.url);
        tasks.spawn("resolve", follow(addresses, registry, dialer, tasks.clone(), self.name().to_owned()));
        Transport::new(tower::ServiceBuilder::new().layer(DeadlineLayer::for_callers()).service(pool))
    }
}

/// A URL, and its host and port.
fn address(text: &str) -> Option<(http::Uri, (String, u16))> {
    let url: http::Uri = text.parse().ok()?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || !matches!(url.path(), "" | "/") {
        return None;
    }
    let host = url.host().filter(|host| !host.is_empty())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16()?;
    Some((url, (host, port)))
}

fn lookups(hosts: Vec<(String, u16)>) -> impl Stream<Item = io::Result<BTreeSet<SocketAddr>>> + Send {
    stream::unfold((hosts, false), move |(hosts, again)| async move {
        if again {
            sleep(RESOLVE_EVERY).await;
        }
        Some((all_of(&hosts).await, (hosts, true)))
    })
}

/// The addresses of all hosts. One that does not resolve takes away nothing of the others.
async fn all_of(hosts: &[(String, u16)]) -> io::Result<BTreeSet<SocketAddr>> {
    let (mut found, mut failed) = (BTreeSet::new(), None);
    for (host, port) in hosts {
        match lookup_host((host.as_str(), *port)).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => failed = Some(error),
        }
    }
    failed.filter(|_| found.is_empty()).map_or(Ok(found), Err)
}

/// Keeps a connection to every address, until nobody holds the transport any more.
async fn follow(
    addresses: impl Stream<Item = io::Result<BTreeSet<SocketAddr>>>,
    registry: Registry,
    dialer: Dialer,
    tasks: Tasks,
    host: String,
) {
    let mut addresses = std::pin::pin!(addresses);
    loop {
        let next = tokio::select! {
            next = addresses.next() => next,
            () = registry.abandoned() => return,
        };
        match next {
            Some(Ok(found)) => {
                for entry in registry.replace(&found) {
                    tasks.spawn("keep-connection", entry.keep(dialer.clone()));
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, host, "cannot resolve a service");
                registry.unresolved();
            }
            None => return registry.abandoned().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

    use super::*;

    #[test]
    fn an_endpoint_is_a_url_with_a_port_and_no_path() {
        for good in [
            "http://127.0.0.1:9000",
            "https://router.svc:443/",
            "http://[::1]:9000",
            "http://127.0.0.1:9000,127.0.0.1:9001, [::1]:9000",
        ] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:9000",
            "http://host",
            "ftp://host:1",
            "http://host:1/path",
            "",
            "http://:1",
            "http://host:1,",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn every_host_of_a_list_is_connected_to_and_one_that_does_not_resolve_keeps_nobody() {
        let (one, two) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let [first, second] = [&one, &two].map(|listener| listener.local_addr().unwrap());
        let endpoint = Endpoint::parse(&format!("http://{first},no-such-host.invalid:1,{second}")).unwrap();
        let _transport = endpoint.connect(None, &Tasks::new()).unwrap();
        for listener in [one, two] {
            timeout(Duration::from_secs(30), listener.accept()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_transport_apart_has_a_connection_of_its_own_that_ends_with_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let shared = endpoint.connect(None, &Tasks::new()).unwrap();
        let (_kept, _) = listener.accept().await.unwrap();
        let apart = shared.apart();
        let (mut own, _) = listener.accept().await.unwrap();
        drop(apart);
        let ended = timeout(Duration::from_secs(30), own.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the connection outlives its transport");
        // and it can be parted from again
        let _again = shared.apart().apart();
        for _ in 0..2 {
            timeout(Duration::from_secs(30), listener.accept()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn https_without_certificates_is_refused() {
        let endpoint = Endpoint::parse("https://router:443").unwrap();
        assert!(matches!(endpoint.connect(None, &Tasks::new()), Err(ChannelError::TlsMissing(_))));
    }
}
