//! Sockets: accept, serve HTTP/1.1, reset on demand.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::World;
use super::exchange::exchange;

/// Serves one deployment until the task is aborted; its connections end with it.
pub(super) async fn serve(socket: TcpListener, world: Arc<World>, index: usize) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&world), index));
                }
                // out of descriptors, as a rule: the next connection to end makes room
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, world: Arc<World>, index: usize) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let to_reset = Arc::new(Notify::new());
    let service = service_fn(|request| {
        // boxed, since taking the socket back out of a connection needs an `Unpin` future
        Box::pin(exchange(Arc::clone(&world), index, Arc::clone(&to_reset), request))
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

/// Ends a connection with RST instead of FIN: the peer's next read fails with "connection reset".
///
/// # Errors
/// When the socket option cannot be set; the connection is closed all the same.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}
