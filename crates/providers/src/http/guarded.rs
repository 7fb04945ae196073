//! Connections for URLs that came over the API: judged before anybody is asked for an address, resolved once, and made to an address
//! that was judged. Nothing follows a redirect.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    task::{Context, Poll},
    vec,
};

use embermesh_egress::{Reach, Rules};
use futures::future::{BoxFuture, Either};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        dns::{GaiResolver, Name},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::CONNECT_TIMEOUT;

/// Connects to whatever it is told, or only where the rules allow.
#[derive(Debug, Clone)]
pub(crate) enum TcpConnector<R = GaiResolver> {
    Free(HttpConnector),
    Guarded { rules: Rules, public: HttpConnector<Judged<R>>, private: HttpConnector<Judged<R>> },
}

impl TcpConnector {
    pub fn free() -> Self {
        Self::Free(tuned(HttpConnector::new()))
    }

    pub fn guarded(rules: Rules) -> Self {
        Self::guarded_with(rules, &GaiResolver::new())
    }
}

impl<R: Clone> TcpConnector<R> {
    pub fn guarded_with(rules: Rules, resolver: &R) -> Self {
        let within =
            |reach| tuned(HttpConnector::new_with_resolver(Judged { reach, resolver: resolver.clone() }));
        Self::Guarded { rules, public: within(Reach::Public), private: within(Reach::Private) }
    }
}

fn tuned<R>(mut tcp: HttpConnector<R>) -> HttpConnector<R> {
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

impl<R: Resolve> Service<Uri> for TcpConnector<R> {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future =
        Either<Ready<Result<Self::Response, BoxError>>, BoxFuture<'static, Result<Self::Response, BoxError>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // connectors of hyper are ready whenever their resolver is, which is always
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Free(tcp) => Either::Right(connect(tcp, uri)),
            Self::Guarded { rules, public, private } => match rules.judge(&uri) {
                Ok(Reach::Public) => Either::Right(connect(public, uri)),
                Ok(Reach::Private) => Either::Right(connect(private, uri)),
                Err(refusal) => Either::Left(ready(Err(refusal.into()))),
            },
        }
    }
}

fn connect<R: Resolve>(
    tcp: &mut HttpConnector<R>,
    uri: Uri,
) -> BoxFuture<'static, Result<TokioIo<TcpStream>, BoxError>> {
    let connecting = tcp.call(uri);
    Box::pin(async move { connecting.await.map_err(BoxError::from) })
}

/// A resolver as hyper takes them.
pub(crate) trait Resolve:
    Service<
        Name,
        Response: Iterator<Item = SocketAddr> + Send,
        Error: Into<BoxError> + Send + Sync,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl Resolve for GaiResolver {}

impl<R: Resolve> Resolve for Judged<R> {}

/// Asks `resolver` once and passes on what lies within `reach`.
#[derive(Debug, Clone)]
pub(crate) struct Judged<R> {
    reach: Reach,
    resolver: R,
}

impl<R: Resolve> Service<Name> for Judged<R> {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.resolver.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (reach, host) = (self.reach, name.clone());
        let resolving = self.resolver.call(name);
        Box::pin(async move { within(reach, host.as_str(), resolving.await.map_err(io::Error::other)?) })
    }
}

/// The addresses that may be connected to.
pub(crate) fn within(
    reach: Reach,
    host: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> io::Result<vec::IntoIter<SocketAddr>> {
    let permitted: Vec<SocketAddr> = addresses.filter(|address| reach.permits(address.ip())).collect();
    if permitted.is_empty() {
        return Err(io::Error::other(format!("{host} has no address that may be connected to")));
    }
    Ok(permitted.into_iter())
}

#[cfg(test)]
mod tests;
