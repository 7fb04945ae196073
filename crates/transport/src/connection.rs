//! One HTTP/2 connection to one address of a remote service.

use std::{io, net::SocketAddr, time::Duration};

use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_util::io::InspectReader;
use tonic::body::Body;

use crate::TlsError;

/// How long a connection may take to come about, handshakes included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where requests are put.
pub(crate) type Sender = http2::SendRequest<Body>;
/// Drives a connection until it has ended.
pub(crate) type Driver = BoxFuture<'static, Result<(), hyper::Error>>;

/// Makes connections to a service.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// For a service whose certificate names `host`, a name or an IP address.
    pub(crate) fn new(host: &str, tls: Option<TlsConnector>) -> Result<Self, TlsError> {
        let Some(tls) = tls else { return Ok(Self { tls: None }) };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| TlsError::Mismatch(error.to_string()))?;
        Ok(Self { tls: Some((tls, name)) })
    }

    pub(crate) async fn dial(&self, address: SocketAddr) -> io::Result<(Sender, Driver)> {
        timeout(CONNECT_TIMEOUT, self.connect(address)).await?
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(Sender, Driver)> {
        let stream = open(address).await?;
        match &self.tls {
            None => handshake(stream).await,
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::other("the server does not speak HTTP/2"));
                }
                handshake(stream).await
            }
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // otherwise whatever does not fit one packet waits 40 ms for the other side's delayed acknowledgement
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns once the server has spoken. A system takes connections for a process that is about to stop and will never look at them;
/// what is sent on such a one is lost without anybody having seen it.
async fn handshake<IO>(io: IO) -> io::Result<(Sender, Driver)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (spoken, has_spoken) = oneshot::channel();
    let mut spoken = Some(spoken);
    let io = InspectReader::new(io, move |bytes| {
        if !bytes.is_empty()
            && let Some(spoken) = spoken.take()
        {
            let _nobody_waits = spoken.send(());
        }
    });
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // whoever is cut off sends no word of it. Calls that hang there keep others away meanwhile; a shorter time would break off calls
        // of a process that is only short of CPU
        .keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(8))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .handshake(TokioIo::new(io))
        .map_err(io::Error::other)
        .await?;
    let mut driver: Driver = connection.boxed();
    tokio::select! {
        ended = &mut driver => {
            Err(ended.map_or_else(io::Error::other, |()| io::ErrorKind::ConnectionAborted.into()))
        }
        Ok(()) = has_spoken => Ok((sender, driver)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn small_packets_leave_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(open(listener.local_addr().unwrap()).await.unwrap().nodelay().unwrap());
    }
}
