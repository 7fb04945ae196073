use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::TestEdge;
use crate::Settings;

const EMBED: &str = "/api/v1/embeddings";
const LIMIT: usize = 64 * 1024;

async fn small() -> TestEdge {
    TestEdge::with(Settings { max_body_bytes: LIMIT, ..Settings::default() }, &[&["admin"]]).await
}

/// Sends `head` and then `megabytes` of body, and reads the answer meanwhile.
async fn send_raw(address: SocketAddr, head: String, chunked: bool, megabytes: usize) -> String {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let reading = async {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains("\"details\"") {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let writing = async {
        to.write_all(head.as_bytes()).await.unwrap();
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..megabytes {
            let sent = async {
                if chunked {
                    to.write_all(b"100000\r\n").await?;
                }
                to.write_all(&block).await?;
                if chunked { to.write_all(b"\r\n").await } else { Ok(()) }
            };
            // a server may close once it has answered
            if sent.await.is_err() {
                break;
            }
        }
        // keep the connection open: the answer must not wait for its end
        std::future::pending::<()>().await;
    };
    let answer = async {
        tokio::select! { answer = reading => answer, () = writing => unreachable!() }
    };
    tokio::time::timeout(Duration::from_secs(60), answer).await.expect("no answer")
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_is_still_being_sent() {
    let edge = small().await;
    let address = edge.listen().await;
    let key = edge.keys[0].reveal();
    for path in [EMBED, "/v1/embeddings"] {
        for (length, chunked, sent) in [
            // declared and sent, declared and never sent, not declared
            ("content-length: 104857600", false, 100),
            ("content-length: 104857600", false, 0),
            ("transfer-encoding: chunked", true, 100),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{length}\r\n\r\n");
            let answer = send_raw(address, head, chunked, sent).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path} {length}: {answer:.200}");
            assert!(answer.contains(r#""code":"too_large""#), "{answer:.600}");
            assert!(answer.contains(r#""max_bytes":65536"#), "{answer:.600}");
        }
    }
    edge.tasks.stop();
}

#[tokio::test]
async fn a_body_is_not_read_for_somebody_without_a_key() {
    let edge = small().await;
    let address = edge.listen().await;
    let head = format!("POST {EMBED} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    let answer = send_raw(address, head, false, 0).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer:.200}");
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_told_to_go_on() {
    let edge = small().await;
    let address = edge.listen().await;
    let key = edge.keys[0].reveal();
    let head = format!(
        "POST {EMBED} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nexpect: 100-continue\r\ncontent-length: 104857600\r\n\r\n"
    );
    let answer = send_raw(address, head, false, 0).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && !answer.contains("100 Continue"), "{answer:.200}");
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let edge = small().await;
    let pieces = [r#"{"te"#, "", r#"xt": "#, r#""a "#, "b c\"}"]
        .map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    let got = edge.post(EMBED, Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(got.json()["metadata"]["message"]["text"], "a b c", "{got:?}");
    let mut full = format!(r#"{{"text": "{}"}}"#, "x".repeat(LIMIT - 12)).into_bytes();
    assert_eq!(full.len(), LIMIT);
    assert_eq!(edge.post(EMBED, full.clone()).await.status, 200);
    full.push(b' ');
    assert_eq!(edge.post(EMBED, full).await.status, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault() {
    let edge = small().await;
    let pieces = [Ok(Bytes::from(r#"{"text""#)), Err(std::io::Error::other("reset"))];
    let got = edge.post(EMBED, Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(got.status, 400);
    got.error();
}

#[tokio::test]
async fn no_body_brings_anything_but_the_one_shape() {
    let edge = small().await;
    let bodies: [&[u8]; 16] = [
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"{\"text\": \"\xc3\x28\"}",
        b"[]",
        b"[[\"a\", \"b\"]]",
        b"null",
        b"\"text\"",
        b"{\"text\": \"a\"} {}",
        b"{\"text\": NaN}",
        b"{\"text\": \"\\ud800\"}",
        b"{\"metadata\": {\"a\": \"\\udc00\"}}",
        b"{\"text\": \"a\", \"text\": \"b\"}",
        b"{\"tex\\u0074\": 1}",
        b"{\"dimensions\": 1e999}",
        b"{\"dimensions\": 99999999999999999999}",
    ];
    for body in bodies {
        let got = edge.post(EMBED, body.to_vec()).await;
        assert_eq!(
            (got.status.as_u16(), &got.error()["code"]),
            (400, &"invalid_request".into()),
            "{body:?}: {got:?}"
        );
    }
    for deep in [
        "[".repeat(50_000),
        r#"{"a":"#.repeat(10_000),
        format!(r#"{{"metadata":{}"#, r#"{"a":"#.repeat(10_000)),
    ] {
        let got = edge.post(EMBED, deep).await;
        assert_eq!(got.status, 400, "{got:?}");
    }
    let deep = format!(r#"{{"metadata":{{"a":{}{}}}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(edge.post(EMBED, deep).await.status, 400);
}

#[tokio::test]
async fn head_lines_that_are_no_http_do_not_stop_the_server() {
    let edge = small().await;
    let address = edge.listen().await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    for head in [
        "nonsense\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        &long,
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // the server may close before it has read all
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
            .await
            .expect("no end");
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{head:.40}");
    }
    assert_eq!(edge.get("/health/live").await.status, 200);
}
