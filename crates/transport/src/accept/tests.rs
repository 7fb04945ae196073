use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::*;
use crate::testing::{Server, call, until};

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";

async fn serving(limits: HttpLimits) -> Server {
    Server::at("127.0.0.1:0".parse().unwrap(), None, limits).await
}

async fn hello(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(HELLO).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    Ok(())
}

#[tokio::test]
async fn small_packets_leave_an_accepted_connection_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(!stream.nodelay().unwrap());
    let Prepared::Plain(stream) = prepare(stream, None, Duration::from_secs(1)).await.unwrap() else {
        unreachable!("no TLS was asked for")
    };
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn one_port_speaks_both_versions() {
    let server = serving(HttpLimits::default()).await;
    hello(&mut TcpStream::connect(server.address).await.unwrap()).await.unwrap();
    let transport = server.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    assert!(call(&transport, "").await.is_ok());
}

#[tokio::test]
async fn a_client_that_dawdles_is_closed() {
    let limits = HttpLimits { header_timeout_seconds: 1, idle_timeout_seconds: 1, ..HttpLimits::default() };
    let server = serving(limits).await;
    let parts: [&[u8]; 4] = [b"", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"GET /hello HTTP/1.1\r\nhost: "];
    let closed = parts.map(async |part| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(part).await.unwrap();
        // closed, politely or not
        let end = timeout(Duration::from_secs(30), stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{}", part.escape_ascii());
    });
    futures::future::join_all(closed).await;
}

#[tokio::test]
async fn a_connection_that_once_asked_may_ask_slowly_again() {
    let limits = HttpLimits { header_timeout_seconds: 1, idle_timeout_seconds: 1, ..HttpLimits::default() };
    let server = serving(limits).await;
    let transport = server.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    let held = call(&transport, "wait");
    let opened = async {
        until(async || server.calls() == 1).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.handler.gate.open();
    };
    let (held, ()) = tokio::join!(held, opened);
    assert!(held.is_ok());
    assert!(call(&transport, "").await.is_ok());
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_for_another_to_end() {
    let server = serving(HttpLimits { connections: 1, ..HttpLimits::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    hello(&mut first).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    {
        let mut answer = std::pin::pin!(hello(&mut second));
        assert!(timeout(Duration::from_millis(100), &mut answer).await.is_err());
        drop(first);
        answer.await.unwrap();
    }
    // a server at its cap stops too
    server.tasks.stop();
    server.tasks.finished().await;
}

#[tokio::test]
async fn a_graceful_stop_closes_what_is_idle_and_finishes_what_is_under_way() {
    let server = serving(HttpLimits::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    hello(&mut idle).await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let transport = server.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    let stopping = async {
        until(async || server.calls() == 1).await;
        server.tasks.stop();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        // the kernel may have held it for a listener that is gone, and resets it then
        assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
        until(async || TcpStream::connect(server.address).await.is_err()).await;
        server.handler.gate.open();
    };
    let (held, ()) = tokio::join!(call(&transport, "wait"), stopping);
    assert!(held.is_ok());
    server.tasks.finished().await;
}
