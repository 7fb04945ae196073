//! The client against a real server that is busy, away or wrong.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::json;

use super::{
    Client, Connection, Failure, Patience,
    test_server::{json, with_server},
};

const QUICK: Patience = Patience {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(2),
    total: Duration::from_millis(1500),
};

fn error(code: &str) -> serde_json::Value {
    json!({"error": {"code": code, "message": "say why", "param": null, "request_id": "r-1", "details": {}}})
}

fn wait(status: u16, seconds: &str) -> Option<Response<Full<Bytes>>> {
    let mut answer = json(status, &error("rate_limited"))?;
    answer.headers_mut().insert("retry-after", seconds.parse().unwrap());
    Some(answer)
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let answer = |earlier: usize, _: &_| match earlier {
        0 => wait(429, "0"),
        1 => json(503, &error("unavailable")),
        2 => Some(Response::builder().status(502).body(Full::new(Bytes::from("<html>"))).unwrap()),
        _ => json(200, &json!({"ok": true})),
    };
    with_server(QUICK, answer, async |client, log| {
        let body = client.post("/api/x", b"{\"a\":1}".to_vec()).await.unwrap();
        assert_eq!(body, r#"{"ok":true}"#);
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 4);
        for asked in log.iter() {
            assert_eq!((asked.path.as_str(), &asked.body), ("/api/x", &json!({"a": 1})));
            assert_eq!(asked.headers["x-api-key"], "test-key");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let answer = |earlier: usize, _: &_| if earlier == 0 { None } else { json(200, &json!(1)) };
    with_server(QUICK, answer, async |client, log| {
        assert_eq!(client.post("/x", b"1".to_vec()).await.unwrap(), "1");
        assert_eq!(log.lock().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_wait_beyond_patience_is_an_answer() {
    with_server(
        QUICK,
        |_, _| wait(429, "3600"),
        async |client, log| {
            let failure = client.post("/x", b"1".to_vec()).await.unwrap_err();
            assert_eq!(
                failure.to_string(),
                "the server refused: say why (rate_limited, request r-1); it asks to wait 3600 s"
            );
            assert_eq!(log.lock().unwrap().len(), 1);
        },
    )
    .await;
}

#[tokio::test]
async fn what_will_not_change_is_asked_once() {
    for (status, code) in [(400, 4), (401, 3), (402, 4), (403, 3), (409, 4), (413, 4), (422, 4), (500, 4)] {
        with_server(
            QUICK,
            move |_, _| json(status, &error("x")),
            async |client, log| {
                let failure = client.post("/x", b"1".to_vec()).await.unwrap_err();
                assert_eq!(log.lock().unwrap().len(), 1, "{status}");
                assert_eq!(failure.exit_code(), std::process::ExitCode::from(code), "{status}");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_ours_keeps_its_status() {
    let answer =
        |_: usize, _: &_| Some(Response::builder().status(404).body(Full::new(Bytes::from("gone"))).unwrap());
    with_server(QUICK, answer, async |client, _| {
        let failure = client.post("/x", b"1".to_vec()).await.unwrap_err();
        assert_eq!(failure.to_string(), "the server refused: not found (http_404)");
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&Connection { url: url.clone(), key: "k".into() }, QUICK).unwrap();
    let failure = client.post("/x", b"1".to_vec()).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable { url: named, .. } if *named == url), "{failure:?}");
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[test]
fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
    let connection = Connection { url: "http://x".into(), key: "bad\nkey".into() };
    let failure = Client::new(&connection, QUICK).unwrap_err();
    assert!(matches!(failure, Failure::Usage(_)) && !failure.to_string().contains("bad"), "{failure}");
}
