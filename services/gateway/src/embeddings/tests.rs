use std::time::Duration;

use embermesh_errors::Code;
use embermesh_proto::v1::embeddings_server::Embeddings as _;
use embermesh_subscription::Snapshot;
use serde_json::{Value, json};

use super::*;
use crate::embeddings::stand_ins::{Bench, DIMENSIONS, context, tenant, vector_of};

mod batch;
mod consistency;
mod cross_model;
mod rows;
mod searching;
mod too_long;

fn bench() -> (Bench, Embeddings) {
    let pii = |action: &str| Some(v1::PiiSettings { action: Some(action.into()), entities: vec![] });
    let agent = |id: &str, action| v1::Agent { agent_id: id.into(), pii: pii(action), ..Default::default() };
    let snapshot = Snapshot::default()
        .with_agent(tenant(), agent("open", "off"))
        .with_agent(tenant(), agent("strict", "reject"));
    let bench = Bench::new(snapshot);
    let service = Embeddings::new(bench.parts.clone());
    (bench, service)
}

fn call<T>(message: T, bound: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(context(bound));
    request
}

fn text(text: &str) -> v1::EmbedRequest {
    v1::EmbedRequest { text: text.into(), ..Default::default() }
}

/// A request as its JSON says.
fn of_json<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

async fn refused(service: &Embeddings, request: v1::EmbedRequest) -> Error {
    Error::from(service.embed(call(request, None)).await.unwrap_err())
}

#[tokio::test]
async fn a_text_is_embedded_and_kept() {
    let (bench, service) = bench();
    let request = of_json(json!({
        "agent_id": "a", "text": "naïve \\ \"日本\" 🎈", "task_type": "research", "context_id": "c", "metadata": {"n": 1.0},
    }));
    let response = service.embed(call(request, None)).await.unwrap();
    let header = |name| response.metadata().get(name).unwrap().to_str().unwrap();
    assert_eq!(header("x-embermesh-space"), "test/pinned@4");
    assert_eq!(header("x-embermesh-provider"), "stand-in");
    assert_eq!(header("x-embermesh-cached"), "0/1");
    assert_eq!(header("x-embermesh-cost-usd"), "0.00000002");
    let answer = response.get_ref();
    assert_eq!(answer.embedding, vector_of("naïve \\ \"日本\" 🎈", DIMENSIONS));
    assert_eq!(
        (answer.model_used.as_str(), answer.space_id.as_str(), answer.dimensions),
        ("pinned", "test/pinned@4", 4)
    );
    assert_eq!(
        (answer.cost_nano_usd, answer.tokens_used, answer.cached, answer.deduplicated),
        (20, 3, false, false)
    );
    assert_eq!((answer.request_id.as_str(), answer.agent_id.as_str()), ("req-1", "a"));
    assert_eq!(answer.metadata, r#"{"n":1.0}"#);
    assert_eq!(answer.pii.as_ref().unwrap().action, "redact");
    let row = &bench.store.puts.lock().unwrap()[0].rows[0];
    assert_eq!((row.content.as_str(), row.context_id.as_str()), ("naïve \\ \"日本\" 🎈", "c"));
    assert_eq!(
        (row.task_type.as_str(), row.input_type.as_str(), row.metadata.as_str()),
        ("research", "document", r#"{"n":1.0}"#)
    );
    assert_eq!(row.pii_policy_version, answer.pii.as_ref().unwrap().policy_version);
}

#[tokio::test]
async fn nothing_is_kept_and_no_vector_returned_when_so_asked() {
    let (bench, service) = bench();
    let request = of_json(json!({"text": "hit", "store": false, "return_vector": false}));
    let response = service.embed(call(request, None)).await.unwrap();
    assert_eq!(response.metadata().get("x-embermesh-cached").unwrap(), "1/1");
    let answer = response.into_inner();
    assert_eq!((answer.embedding_id, answer.embedding.len(), answer.cached), (None, 0, true));
    assert!(bench.store.puts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn scrub_first_no_personal_data_reaches_the_router_or_the_store() {
    let (bench, service) = bench();
    let request =
        of_json(json!({"text": "write to joe@example.com", "metadata": {"from": "joe@example.com"}}));
    let answer = service.embed(call(request, None)).await.unwrap().into_inner();
    assert_eq!(bench.router.texts(), ["write to [EMAIL]"]);
    assert_eq!(bench.store.rows()[0].content, "write to [EMAIL]");
    assert_eq!(bench.store.rows()[0].metadata, r#"{"from":"[EMAIL]"}"#);
    assert_eq!(answer.metadata, r#"{"from":"[EMAIL]"}"#);
    assert_eq!(answer.pii.unwrap().counts["email"], 2);

    let error = refused(&service, of_json(json!({"agent_id": "strict", "text": "joe@example.com"}))).await;
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("text")));
    assert_eq!(error.details["findings"][0], json!({"entity": "email", "start": 0, "end": 15}));
    service.embed(call(of_json(json!({"agent_id": "open", "text": "joe@example.com"})), None)).await.unwrap();
    assert_eq!(bench.router.texts(), ["write to [EMAIL]", "joe@example.com"]);
}

#[tokio::test]
async fn each_bad_field_is_named() {
    let (bench, service) = bench();
    for (request, code, param) in [
        (json!({"text": ""}), Code::Invalid, "text"),
        (json!({"text": "a\u{0}b"}), Code::Invalid, "text"),
        (json!({"text": "x".repeat(1001)}), Code::InputTooLong, "text"),
        (json!({"text": "x", "agent_id": "a b"}), Code::Invalid, "agent_id"),
        (json!({"text": "x", "agent_id": "other"}), Code::Invalid, "agent_id"),
        (json!({"text": "x", "model": ""}), Code::Invalid, "model"),
        (json!({"text": "x", "task_type": "a b"}), Code::Invalid, "task_type"),
        (json!({"text": "x", "task_type": "t".repeat(65)}), Code::Invalid, "task_type"),
        (json!({"text": "x", "input_type": "Document"}), Code::Invalid, "input_type"),
        (json!({"text": "x", "dimensions": 0}), Code::Invalid, "dimensions"),
        (json!({"text": "x", "dimensions": 16001}), Code::Invalid, "dimensions"),
        (json!({"text": "x", "context_id": ""}), Code::Invalid, "context_id"),
        (json!({"text": "x", "context_id": "a\nb"}), Code::Invalid, "context_id"),
        (json!({"text": "x", "context_id": "ü".repeat(256)}), Code::Invalid, "context_id"),
        (json!({"text": "x", "request_id": "a b"}), Code::Invalid, "request_id"),
        (json!({"text": "x", "metadata": {"a": "\u{0}"}}), Code::Invalid, "metadata"),
        (json!({"text": "x", "metadata": {"a": "y".repeat(200)}}), Code::Invalid, "metadata"),
        (json!({"text": "x", "on_too_long": "cut"}), Code::Invalid, "on_too_long"),
    ] {
        let error = refused(&service, of_json(request.clone())).await;
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{request}: {error}");
    }
    // over gRPC metadata is any string
    let error = refused(&service, v1::EmbedRequest { metadata: "[1]".into(), ..text("x") }).await;
    assert_eq!(error.param.as_deref(), Some("metadata"));
    assert!(bench.router.texts().is_empty());
    assert_eq!(refused(&service, text("\0")).await.message, "text must not contain NUL (U+0000)");
    service.embed(call(text(" \n"), None)).await.unwrap();
}

#[tokio::test]
async fn a_bound_key_is_its_agent_and_no_other() {
    let (bench, service) = bench();
    for (named, bound, is) in
        [("", None, "default"), ("", Some("mine"), "mine"), ("mine", Some("mine"), "mine")]
    {
        let request = v1::EmbedRequest { agent_id: named.into(), ..text("x") };
        let answer = service.embed(call(request, bound)).await.unwrap().into_inner();
        assert_eq!(answer.agent_id, is);
        assert_eq!(bench.router.seen.lock().unwrap().last().unwrap().agent_id, is);
    }
    let request = v1::EmbedRequest { agent_id: "theirs".into(), ..text("x") };
    let error = Error::from(service.embed(call(request, Some("mine"))).await.unwrap_err());
    assert_eq!((error.code, error.param.as_deref()), (Code::Forbidden, Some("agent_id")));
}

#[tokio::test]
async fn what_the_store_would_refuse_is_refused_before_anything_is_paid() {
    let (bench, service) = bench();
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(32), "]".repeat(32));
    let error = refused(&service, v1::EmbedRequest { metadata: deep, ..text("x") }).await;
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("metadata")));
    let named = of_json(json!({"text": "x", "context_id": "mail of joe@example.com"}));
    let error = refused(&service, named).await;
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("context_id")));
    assert!(bench.router.texts().is_empty());
}

#[tokio::test]
async fn a_call_that_passed_no_authentication_is_refused() {
    let (_, service) = bench();
    assert_eq!(Error::from(service.embed(Request::new(text("x"))).await.unwrap_err()).code, Code::Internal);
}

#[tokio::test]
async fn the_failure_of_the_text_is_the_calls() {
    let (_, service) = bench();
    let error = refused(&service, text("fail")).await;
    assert_eq!((error.code, error.param.as_deref()), (Code::InputTooLong, Some("text")));
    assert_eq!(error.details["tokens"], 9000);
    let error = refused(&service, of_json(json!({"agent_id": "down", "text": "x"}))).await;
    assert_eq!(error.code, Code::Unavailable);
    let error = refused(&service, of_json(json!({"model": "short", "text": "x"}))).await;
    assert_eq!(error.code, Code::Internal);
    for throttled in [json!({"agent_id": "throttled", "text": "x"}), json!({"text": "slow"})] {
        let error = refused(&service, of_json(throttled)).await;
        let after = Some(Duration::from_millis(2500));
        assert_eq!((error.code, error.param, error.retry_after), (Code::RateLimited, None, after));
    }
}

#[tokio::test]
async fn what_was_paid_and_not_stored_says_that_a_retry_is_free() {
    let (bench, service) = bench();
    *bench.store.is_down.lock().unwrap() = true;
    let error = refused(&service, text("x")).await;
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(
        Value::Object(error.details),
        json!({"embedded": true, "stored": false, "cost_usd": "0.00000002"})
    );
    assert!(error.retry_after.is_some());
}
