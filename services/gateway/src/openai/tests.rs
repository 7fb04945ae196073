use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::IntoResponse,
};
use embermesh_proto::{from_le_bytes, v1};
use embermesh_subscription::Snapshot;
use http::{Method, StatusCode, request::Parts};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::embeddings::stand_ins::{Bench, context, tenant, vector_of};

mod encoding;

fn bench() -> Bench {
    let reject = v1::PiiSettings { action: Some("reject".into()), entities: vec![] };
    let strict = v1::Agent { agent_id: "strict".into(), pii: Some(reject), ..Default::default() };
    let model = |id: &str, family: &str| v1::CatalogModel {
        id: id.into(),
        family: family.into(),
        ..Default::default()
    };
    Bench::new(
        Snapshot::default()
            .with_agent(tenant(), strict)
            .with_model(model("text-embedding-3-small", "openai/text-embedding-3-small"))
            .with_model(model("sentence-transformers/all-MiniLM-L6-v2", "minilm")),
    )
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    /// What the edge would write for a refusal.
    refusal: Option<Error>,
    body: Value,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn error(&self) -> (u16, &str, Option<&str>) {
        let error = self.refusal.as_ref().unwrap();
        (self.status.as_u16(), error.code.as_str(), error.param.as_deref())
    }
}

async fn send(bench: &Bench, mut request: Request, bound: Option<&str>) -> Answered {
    let (openai, context) = (OpenAi::new(bench.parts.clone()), context(bound));
    let response = if request.uri().path() == EMBEDDINGS {
        let (Parts { headers, .. }, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let request = Admitted { context, key: None, headers, body };
        (openai.embeddings)(request).await.map_err(Failure::from).into_response()
    } else {
        request.extensions_mut().insert(context);
        openai.lookups.oneshot(request).await.unwrap()
    };
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    if let Some(length) = parts.headers.get("content-length") {
        assert_eq!(length.to_str().unwrap(), body.len().to_string());
    }
    Answered {
        status: parts.status,
        refusal: parts.extensions.remove(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn request(body: impl Into<Body>) -> Request {
    Request::builder().method(Method::POST).uri("/v1/embeddings").body(body.into()).unwrap()
}

async fn post(bench: &Bench, body: Value) -> Answered {
    send(bench, request(body.to_string()), None).await
}

async fn fetch(bench: &Bench, path: &str) -> Answered {
    send(bench, Request::builder().uri(path).body(Body::empty()).unwrap(), None).await
}

#[tokio::test]
async fn an_answer_is_openais_with_our_headers() {
    let bench = bench();
    let answer = post(&bench, json!({"input": ["a", "hit", "c"], "model": "m", "dimensions": 2})).await;
    let embedding = |index: usize, text: &str| json!({"object": "embedding", "index": index, "embedding": vector_of(text, 2)});
    let data = [embedding(0, "a"), embedding(1, "hit"), embedding(2, "c")];
    let usage = json!({"prompt_tokens": 9, "total_tokens": 9});
    let read = &answer.body;
    let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value["embedding"].clone()).unwrap() };
    for (got, expected) in read["data"].as_array().unwrap().iter().zip(&data) {
        assert_eq!(
            (&got["object"], &got["index"], floats(got)),
            (&expected["object"], &expected["index"], floats(expected))
        );
    }
    assert_eq!(read["data"].as_array().unwrap().len(), 3);
    assert_eq!((&read["object"], &read["model"], &read["usage"]), (&json!("list"), &json!("m"), &usage));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-embermesh-space"), "test/m@2");
    assert_eq!(answer.header("x-embermesh-provider"), "stand-in");
    assert_eq!(answer.header("x-embermesh-cached"), "1/3");
    assert_eq!(answer.header("x-embermesh-cost-usd"), "0.00000004");
    assert!(bench.store.puts.lock().unwrap().is_empty(), "this edge stores nothing");
    let cost = r#"embedding_cost_total{agent_id="default",model="m",provider="stand-in"} 0.00000004"#;
    assert!(bench.metrics.render().contains(cost), "{}", bench.metrics.render());
}

#[tokio::test]
async fn only_the_edge_limits_a_body() {
    let bench = bench();
    // above what axum takes by default
    let body = format!("{}{}", " ".repeat(3 * 1024 * 1024), json!({"input": "x", "model": "m"}));
    assert_eq!(send(&bench, request(body), None).await.status, 200);
}

#[tokio::test]
async fn base64_and_floats_are_the_same_vector() {
    let bench = bench();
    let float = post(&bench, json!({"input": "x", "model": "auto", "dimensions": 1536})).await;
    let base64 =
        post(&bench, json!({"input": "x", "model": "auto", "dimensions": 1536, "encoding_format": "base64"}))
            .await;
    let text = base64.body["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64_simd::STANDARD.decode_to_vec(text).unwrap();
    let floats: Vec<f32> = serde_json::from_value(float.body["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(from_le_bytes(&bytes).unwrap(), floats);
    assert_eq!(floats, vector_of("x", 1536));
    assert_eq!(float.body["model"], "pinned", "auto is told as the model that served");
    assert_eq!(bench.router.seen.lock().unwrap()[0].model, "");
}

#[tokio::test]
async fn token_arrays_are_text_and_do_not_pass_by_the_scrubbing() {
    let bench = bench();
    let tokens =
        embermesh_tokens::TextTokenizer::encode(&embermesh_tokens::Cl100kBase, "to joe@example.com 日本 🎈")
            .unwrap();
    post(&bench, json!({"input": tokens, "model": "m"})).await;
    post(&bench, json!({"input": [tokens, [15339]], "model": "m"})).await;
    assert_eq!(bench.router.texts(), ["to [EMAIL] 日本 🎈", "to [EMAIL] 日本 🎈", "hello"]);
}

#[tokio::test]
async fn scrub_first_on_this_edge_too() {
    let bench = bench();
    let answer =
        post(&bench, json!({"input": ["fine", "joe@example.com"], "model": "m", "user": "strict"})).await;
    assert_eq!(answer.error(), (422, "pii_rejected", Some("input[1]")));
    assert!(bench.router.texts().is_empty());
    post(&bench, json!({"input": "joe@example.com", "model": "m"})).await;
    assert_eq!(bench.router.texts(), ["[EMAIL]"]);
}

#[tokio::test]
async fn the_agent_is_the_keys_then_the_headers_then_the_users() {
    let bench = bench();
    for (bound, header, user, agent) in [
        (Some("keys"), Some("headers"), Some("users"), "keys"),
        (None, Some("headers"), Some("users"), "headers"),
        (None, None, Some("users"), "users"),
        (None, None, None, "default"),
        (None, None, Some("joe smith@example.com"), "default"),
        (None, Some("other"), None, "default"),
    ] {
        let mut request = request(json!({"input": "x", "model": "m", "user": user}).to_string());
        if let Some(header) = header {
            request.headers_mut().insert("x-agent-id", header.parse().unwrap());
        }
        assert_eq!(send(&bench, request, bound).await.status, 200);
        assert_eq!(bench.router.seen.lock().unwrap().last().unwrap().agent_id, agent);
    }
}

#[tokio::test]
async fn one_failed_input_fails_the_request_and_is_named() {
    let bench = bench();
    let answer = post(&bench, json!({"input": ["a", "fail", "c"], "model": "m"})).await;
    assert_eq!(answer.error(), (422, "input_too_long", Some("input[1]")));
    assert_eq!(answer.refusal.as_ref().unwrap().details["tokens"], 9000);
    assert_eq!(post(&bench, json!({"input": "fail", "model": "m"})).await.error().2, Some("input"));
    assert_eq!(
        post(&bench, json!({"input": ["a", "b"], "model": "short"})).await.error(),
        (500, "internal", None)
    );
    let answer = post(&bench, json!({"input": "x", "model": "m", "user": "down"})).await;
    assert_eq!(answer.error(), (503, "unavailable", None));
    assert!(answer.refusal.unwrap().retry_after.is_some());
}

#[tokio::test]
async fn what_is_throttled_says_when_to_come_again() {
    let bench = bench();
    for body in [
        json!({"input": ["a", "slow"], "model": "m"}),
        json!({"input": "x", "model": "m", "user": "throttled"}),
    ] {
        let answer = post(&bench, body.clone()).await;
        assert_eq!(answer.error(), (429, "rate_limited", None), "{body}");
        assert_eq!(answer.refusal.unwrap().retry_after.unwrap().as_millis(), 2500);
    }
}

#[tokio::test]
async fn over_long_texts_are_refused_and_a_fallback_model_shows_in_the_answer() {
    let bench = bench();
    let answer = post(&bench, json!({"input": "long and longer", "model": "m"})).await;
    assert_eq!(answer.error(), (422, "input_too_long", Some("input")));
    assert_eq!(bench.router.seen.lock().unwrap()[0].on_too_long, "error");
    let answer = post(&bench, json!({"input": "x", "model": "auto", "user": "elsewhere"})).await;
    assert_eq!(
        (answer.header("x-embermesh-space"), &answer.body["model"]),
        ("test/fallback@4", &json!("fallback"))
    );
}

#[tokio::test]
async fn each_bad_request_is_named() {
    let bench = bench();
    for (body, status, param) in [
        (json!({"input": "", "model": "m"}), 400, "input"),
        (json!({"input": ["a", ""], "model": "m"}), 400, "input[1]"),
        (json!({"input": "a\u{0}", "model": "m"}), 400, "input"),
        (json!({"input": [188], "model": "m"}), 400, "input"), // token 188 is the byte 0
        (json!({"input": ["x".repeat(1001)], "model": "m"}), 422, "input[0]"),
        (json!({"input": "x", "model": "m", "dimensions": 0}), 400, "dimensions"),
        (json!({"input": "x", "model": ""}), 400, "model"),
        (json!({"input": "x", "model": "a b"}), 400, "model"),
        (json!({"input": "x", "model": "m", "metadata": {}}), 400, "metadata"),
    ] {
        let answer = post(&bench, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.error().2), (status, Some(param)), "{body}");
    }
    let answer = post(&bench, json!({"input": vec!["x".repeat(900); 5], "model": "m"})).await;
    assert_eq!(answer.error(), (413, "too_large", None));
    assert!(bench.router.texts().is_empty());
}

#[tokio::test]
async fn models_are_the_catalog() {
    let bench = bench();
    let small =
        json!({"id": "text-embedding-3-small", "object": "model", "created": 0, "owned_by": "openai"});
    let local = json!({"id": "sentence-transformers/all-MiniLM-L6-v2", "object": "model", "created": 0, "owned_by": "embermesh"});
    assert_eq!(fetch(&bench, "/v1/models").await.body, json!({"object": "list", "data": [local, small]}));
    assert_eq!(fetch(&bench, "/v1/models/text-embedding-3-small").await.body, small);
    for path in [
        "/v1/models/sentence-transformers/all-MiniLM-L6-v2",
        "/v1/models/sentence-transformers%2Fall-MiniLM-L6-v2",
    ] {
        assert_eq!(fetch(&bench, path).await.body, local);
    }
    assert_eq!(fetch(&bench, "/v1/models/gpt-4").await.error(), (404, "not_found", Some("model")));
}

#[tokio::test]
async fn the_models_of_a_tenant_are_those_that_it_may_use() {
    let model = |id: &str| v1::CatalogModel { id: id.into(), family: id.into(), ..Default::default() };
    let narrow = embermesh_subscription::TenantEntry {
        tenant_id: tenant().to_string(),
        allowed_models: vec!["large".to_owned(), "not-in-the-catalog".to_owned()],
        ..Default::default()
    };
    let bench = Bench::new(
        Snapshot::default().with_model(model("small")).with_model(model("large")).with_tenant(narrow),
    );
    let fetch = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        send(&bench, request, None).await
    };
    let listed = fetch("/v1/models").await.body;
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["large"]);
    assert_eq!(fetch("/v1/models/large").await.body["id"], "large");
    assert_eq!(fetch("/v1/models/small").await.error(), (404, "not_found", Some("model")));
}
