//! The accept loop: nodelay, header timeout, connection and stream caps, TLS, and a graceful end. `axum::serve` has none of the
//! first three.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use embermesh_lifecycle::Tasks;
use http_body_util::BodyExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::greeting::Greeting;

/// What the clients of a port may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Connections at a time; further ones wait.
    pub connections: usize,
    /// HTTP/2 streams of one connection at a time.
    pub streams_per_connection: u32,
    /// Seconds that the TLS handshake and the first bytes of a connection may each take.
    pub header_timeout_seconds: u64,
    /// Seconds that a connection may lie idle between two requests; the next head counts towards them. Longer than clients keep idle
    /// connections, or they would send into one that is just being closed.
    pub idle_timeout_seconds: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams_per_connection: 200,
            header_timeout_seconds: 10,
            idle_timeout_seconds: 120,
        }
    }
}

/// The peer of a connection, as a request extension.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub std::net::SocketAddr);

/// Serves HTTP/1.1 and HTTP/2 on `listener` until the process stops, then finishes the requests that are under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: HttpLimits,
    tasks: Tasks,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let server = Arc::new(builder(&limits));
    let header_timeout = Duration::from_secs(limits.header_timeout_seconds);
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (permit, stream, peer))
        };
        let (permit, stream, peer) = tokio::select! {
            biased;
            () = tasks.stopping() => return Ok(()),
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // out of descriptors, or the client is gone already: neither ends the server
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let router = router.clone();
        let (server, tls, tasks_of_connection) = (Arc::clone(&server), tls.clone(), tasks.clone());
        tasks.spawn("connection", async move {
            let _permit = permit;
            let prepared = tokio::select! {
                prepared = prepare(stream, tls, header_timeout) => prepared,
                () = tasks_of_connection.stopping() => return,
            };
            let served = match prepared {
                Ok(Prepared::Plain(stream)) => {
                    let stream = Greeting::new(stream, header_timeout);
                    connection(&server, stream, router, peer, &tasks_of_connection).await
                }
                Ok(Prepared::Tls(stream)) => {
                    let stream = Greeting::new(stream, header_timeout);
                    connection(&server, stream, router, peer, &tasks_of_connection).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = served {
                tracing::debug!(error = error.as_ref(), "connection ended early");
            }
        });
    }
}

fn builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper starts it when the connection falls idle, not at the first byte of a head
        .header_read_timeout(Duration::from_secs(limits.idle_timeout_seconds))
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

enum Prepared {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

async fn prepare(stream: TcpStream, tls: Option<TlsAcceptor>, longest: Duration) -> io::Result<Prepared> {
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Prepared::Plain(stream)),
        Some(tls) => {
            let handshake = tokio::time::timeout(longest, tls.accept(stream));
            Ok(Prepared::Tls(Box::new(handshake.await??)))
        }
    }
}

async fn connection<IO>(
    server: &Builder<TokioExecutor>,
    io: IO,
    router: Router,
    peer: std::net::SocketAddr,
    tasks: &Tasks,
) -> Result<(), tower::BoxError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(|body| axum::body::Body::new(body.map_err(axum::Error::new)))
    });
    let connection = server.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = tasks.stopping() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests;
