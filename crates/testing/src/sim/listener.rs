//! Sockets: accept, serve HTTP/1.1, reset on demand, close and reopen.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::exchange::exchange;
use super::payload::Payload;
use super::{World, control};

/// Connections waiting to be accepted; as many as the system takes.
const BACKLOG: u32 = 1024;
/// Between two attempts at what failed for want of descriptors or a port.
const RETRY: Duration = Duration::from_millis(5);
/// For the answer to the request that turned the listener off, should it have come over one of its own connections.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Serves one deployment until the task is aborted; its connections end with it.
pub(super) async fn serve(mut socket: TcpListener, world: Arc<World>, index: usize) {
    let deployment = &world.deployments[index];
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            never = accept(&socket, &mut connections, &world, Some(index)) => match never {},
            () = deployment.switch.until(false) => {}
        }
        drop(socket);
        let held = hold(deployment.address()).await;
        tokio::time::sleep(LAST_WORDS).await;
        connections.shutdown().await;
        deployment.switch.is(false);
        deployment.switch.until(true).await;
        socket = reopen(held, deployment.address()).await;
        deployment.switch.is(true);
    }
}

/// Serves `/_sim/` only.
pub(super) async fn serve_control(socket: TcpListener, world: Arc<World>) {
    match accept(&socket, &mut JoinSet::new(), &world, None).await {}
}

async fn accept(
    socket: &TcpListener,
    connections: &mut JoinSet<()>,
    world: &Arc<World>,
    index: Option<usize>,
) -> Infallible {
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(world), index));
                }
                // out of descriptors, as a rule: the next connection to end makes room
                Err(_) => tokio::time::sleep(RETRY).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Keeps a port without listening on it: connections are refused, and the system gives it to nobody who asks for a free one.
async fn hold(address: SocketAddr) -> TcpSocket {
    loop {
        if let Ok(socket) = bind(address) {
            return socket;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // connections of the listener before may still linger
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn reopen(mut held: TcpSocket, address: SocketAddr) -> TcpListener {
    loop {
        match held.listen(BACKLOG) {
            Ok(listener) => return listener,
            Err(_) => held = hold(address).await,
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connection(stream: TcpStream, world: Arc<World>, index: Option<usize>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let to_reset = Arc::new(Notify::new());
    let service = service_fn(|request| {
        // boxed, since taking the socket back out of a connection needs an `Unpin` future
        Box::pin(answer(Arc::clone(&world), index, Arc::clone(&to_reset), request))
    });
    let mut serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let reset_wanted = tokio::select! {
        // an error here is the client's: it went away or spoke no HTTP
        _ended = &mut serving => false,
        () = to_reset.notified() => true,
    };
    if reset_wanted {
        // a failure to set the option means that the peer is gone already
        let _gone = reset(serving.into_parts().io.into_inner());
    }
}

async fn answer(
    world: Arc<World>,
    index: Option<usize>,
    to_reset: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    if let Some(action) = request.uri().path().strip_prefix("/_sim/") {
        let action = action.to_owned();
        return Ok(control::answer(&world, index, &action, request).await);
    }
    match index {
        Some(index) => Ok(exchange(&world, index, &to_reset, request).await),
        None => Ok(control::no_such_action()),
    }
}

/// Ends a connection with RST instead of FIN: the peer's next read fails with "connection reset".
///
/// # Errors
/// When the socket option cannot be set; the connection is closed all the same.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}
