//! Each way to fail, as the class that says what to do next.

use std::time::Duration;

use embermesh_config::Secret;
use embermesh_providers::{Billing, Failure};
use embermesh_testing::sim::{AwsKeys, Fault, RetryAfter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::account::*;

/// A status with an error type that the simulator has no fault for.
fn typed(status: u16, kind: &str, message: &str) -> Fault {
    let body = serde_json::json!({"__type": kind, "message": message}).to_string();
    Fault::Status { status, retry_after: None, body: Some(body) }
}

/// From a proxy between: no JSON and no type.
fn bare(status: u16, body: &str) -> Fault {
    Fault::Status { status, retry_after: None, body: Some(body.to_owned()) }
}

#[tokio::test]
async fn each_error_of_bedrock_has_its_class() {
    let account = Account::open().await;
    let provider = account.provider();
    for (fault, expected) in [
        (Fault::status(400), Failure::Refused),
        // as of a model that is not granted
        (Fault::status(403), Failure::NotHere),
        (Fault::status(404), Failure::NotHere),
        (Fault::status(408), Failure::Intermediary),
        (Fault::status(424), Failure::Server),
        (Fault::status(429), Failure::Throttled),
        (Fault::status(500), Failure::Server),
        (Fault::status(503), Failure::Server),
        (typed(429, "ModelNotReadyException", ""), Failure::Server),
        (typed(400, "ServiceQuotaExceededException", ""), Failure::Exhausted),
        (typed(403, "ExpiredTokenException", ""), Failure::Unauthorized),
        (typed(400, "ValidationException", "Input is too long for requested model."), Failure::TooLong),
        (typed(400, "ValidationException", "The provided model identifier is invalid."), Failure::NotHere),
        (typed(418, "NewException", ""), Failure::Refused),
        (Fault::QuotaUsedUp, Failure::Exhausted),
        (bare(502, "<html>"), Failure::Intermediary),
        (bare(504, ""), Failure::Intermediary),
        (bare(302, ""), Failure::NotHere),
        (Fault::ResetBeforeRead, Failure::Broken),
        (Fault::ResetAfterRead, Failure::Broken),
        (Fault::TruncatedJson, Failure::BadAnswer),
        (Fault::ErrorWithStatus200, Failure::BadAnswer),
        (Fault::WrongCount, Failure::BadAnswer),
        (Fault::NotANumber, Failure::BadAnswer),
    ] {
        account.deployment().inject([fault.clone().times(1)]);
        account.sim.clear_calls();
        let error = ask(&provider).await.unwrap_err();
        assert_eq!(error.failure, expected, "{fault:?}: {error}");
        assert_eq!(account.sim.calls().len(), 1, "{fault:?}: a call is made once");
        ask(&provider).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_count_of_vectors_is_found_where_there_is_no_index() {
    let account = Account::open().await;
    account.deployment().inject([Fault::WrongCount.times(1)]);
    let call = call(&model("cohere.embed-v4:0", 1536, true), texts(3));
    let error = account.provider().embed(call).await.unwrap_err();
    assert_eq!((error.failure, error.message.as_str()), (Failure::BadAnswer, "2 vectors for 3 inputs"));
}

#[tokio::test]
async fn the_wait_that_bedrock_asks_for_is_told() {
    let account = Account::open().await;
    let provider = account.provider();
    for wait in [RetryAfter::Seconds(7), RetryAfter::Millis(7_000)] {
        account.deployment().inject([Fault::status(429).retry_after(wait).times(1)]);
        let error = ask(&provider).await.unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{wait:?}");
        assert_eq!(error.message, "bedrock answered 429 Too Many Requests ThrottlingException");
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_is_told_from_a_bad_request() {
    let account = Account::open().await;
    let provider = account.provider();
    let long = |words: usize| vec!["word ".repeat(words).into()];
    for (model, texts) in [
        (titan_v2(), long(9_000)),
        (titan_v2(), long(20_000)),
        (model("cohere.embed-english-v3", 1024, true), long(600)),
        (model("cohere.embed-english-v3", 1024, true), vec!["a ".repeat(700).into()]),
    ] {
        let error = provider.embed(call(&model, texts)).await.unwrap_err();
        assert_eq!(error.failure, Failure::TooLong, "{}: {error}", model.id);
    }
}

#[tokio::test]
async fn a_signature_with_wrong_keys_is_refused() {
    let account = Account::open().await;
    for change in [
        |entry: &mut embermesh_config::Provider| entry.secret_access_key = Some(Secret::new("another")),
        |entry: &mut embermesh_config::Provider| entry.access_key_id = Some("AKIDOTHER".to_owned()),
        |entry: &mut embermesh_config::Provider| entry.session_token = Some(Secret::new("token")),
        |entry: &mut embermesh_config::Provider| entry.region = Some("us-east-1".to_owned()),
    ] {
        let mut entry = account.entry();
        change(&mut entry);
        assert_eq!(failure(&connect(&entry)).await, Failure::Unauthorized, "{entry:?}");
    }
}

#[tokio::test]
async fn temporary_keys_of_the_entry_are_sent_with_their_token() {
    let account = Account::with(AwsKeys { session_token: Some("the/token+==".to_owned()), ..keys() }).await;
    let mut entry = account.entry();
    assert_eq!(failure(&connect(&entry)).await, Failure::Unauthorized);
    entry.session_token = Some(Secret::new("the/token+=="));
    ask(&connect(&entry)).await.unwrap();
}

#[tokio::test]
async fn a_hang_ends_with_the_calls_timeout() {
    let account = Account::open().await;
    account.deployment().inject([Fault::Hang.times(1)]);
    let provider = account.provider();
    let mut call = call(&titan_v2(), texts(1));
    call.timeout = Duration::from_millis(300);
    let error = timeout(PATIENCE, provider.embed(call)).await.unwrap().unwrap_err();
    assert_eq!(error.failure, Failure::TimedOut);
    assert_eq!(error.failure.billing(), Billing::Unknown);
    ask(&provider).await.unwrap();
}

#[tokio::test]
async fn a_trickling_answer_ends_with_the_calls_timeout() {
    let account = Account::open().await;
    account.deployment().inject([Fault::Trickle { bytes: 100, every_ms: 50 }.times(1)]);
    let mut call = call(&titan_v2(), texts(1));
    call.timeout = Duration::from_millis(300);
    let error = timeout(PATIENCE, account.provider().embed(call)).await.unwrap().unwrap_err();
    assert_eq!(error.failure, Failure::TimedOut);
}

#[tokio::test]
async fn no_connection_within_the_timeout_is_unreachable_and_not_billed() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // the kernel completes connections until its queue is full and is silent from then on
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    let mut call = call(&titan_v2(), texts(1));
    call.timeout = Duration::from_millis(300);
    let provider = connect(&entry(&format!("http://{address}")));
    let error = timeout(PATIENCE, provider.embed(call)).await.unwrap().unwrap_err();
    assert_eq!(error.failure, Failure::Unreachable, "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_not_billed() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for base_url in [format!("http://{address}"), "http://no-such-host.invalid".to_owned()] {
        assert_eq!(failure(&connect(&entry(&base_url))).await, Failure::Unreachable, "{base_url}");
    }
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = connect(&entry(&format!("http://{}", listener.local_addr().unwrap())));
    let calling = provider.embed(call(&titan_v2(), texts(1)));
    let arrives = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
        }
        socket
    };
    let mut socket = tokio::select! {
        answer = calling => panic!("nobody answered, but {answer:?}"),
        socket = arrives => socket,
    };
    let end = timeout(PATIENCE, socket.read(&mut [0; 64])).await.expect("the connection is still open");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

/// Answers one request with `body`, without any header of Bedrock's.
async fn answer_once(listener: TcpListener, body: &str) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
    }
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn titans_body_says_the_tokens_where_no_header_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = connect(&entry(&format!("http://{}", listener.local_addr().unwrap())));
    let body = r#"{"embedding":[0.6,0.8],"embeddingsByType":{"float":[0.6,0.8]},"inputTextTokenCount":5}"#;
    let (answer, ()) = tokio::join!(ask(&provider), answer_once(listener, body));
    let answer = answer.unwrap();
    assert_eq!(answer.usage.tokens.unwrap().0, 5);
    assert_eq!(floats(&answer.vectors[0]), [0.6, 0.8]);
}

#[tokio::test]
async fn an_error_of_the_multimodal_model_beside_status_200_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = connect(&entry(&format!("http://{}", listener.local_addr().unwrap())));
    let body = r#"{"embedding":[0.6,0.8],"inputTextTokenCount":5,"message":"it went wrong"}"#;
    let call = call(&model("amazon.titan-embed-image-v1", 1024, false), texts(1));
    let (answer, ()) = tokio::join!(provider.embed(call), answer_once(listener, body));
    assert_eq!(answer.unwrap_err().failure, Failure::BadAnswer);
}

#[test]
fn making_a_provider_needs_no_runtime_and_shows_no_secret() {
    let mut entry = entry("http://no-such-host.invalid");
    entry.session_token = Some(Secret::new("hush-hush-token"));
    let shown = format!("{:?}", connect(&entry));
    assert!(shown.contains("eu-west-1"), "{shown}");
    assert!(!shown.contains(SECRET) && !shown.contains("hush-hush"), "{shown}");
}

#[test]
fn the_region_must_be_given() {
    let mut entry = entry("http://localhost");
    entry.region = None;
    let connector = embermesh_providers::Connector::new(None).unwrap();
    let error = connector.connect(embermesh_config::ProviderKind::Bedrock, &entry).unwrap_err();
    assert_eq!(error.to_string(), "region is missing");
}
