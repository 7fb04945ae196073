//! Bad input gets its precise error, in the one shape.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{client::Client, running::Running};

const EMBED: &str = "/api/v1/embeddings";
const SEARCH: &str = "/api/v1/embeddings/search";
const OPENAI: &str = "/v1/embeddings";

#[tokio::test]
async fn bad_input_gets_its_precise_error() {
    let running = Running::one("").await;
    let agent = running.agent();
    let vector = |n: usize| vec![0.1; n];
    let space = "sentence-transformers/all-MiniLM-L6-v2@384";
    let long = "word ".repeat(300);

    let cases: Vec<(&str, Value, u16, &str, &str)> = vec![
        (EMBED, json!({"agent_id": "a", "text": ""}), 400, "invalid_request", "text"),
        (EMBED, json!({"agent_id": "a"}), 400, "invalid_request", "text"),
        (EMBED, json!({"agent_id": "a", "text": "x\u{0}y"}), 400, "invalid_request", "NUL"),
        (EMBED, json!({"agent_id": "a b", "text": "x"}), 400, "invalid_request", "agent_id"),
        (EMBED, json!({"agent_id": "other", "text": "x"}), 400, "invalid_request", "reserved"),
        (EMBED, json!({"agent_id": "a", "text": "x", "txet": 1}), 400, "invalid_request", "txet"),
        (EMBED, json!({"agent_id": "a", "text": "x", "model": "gpt-9"}), 404, "not_found", "gpt-9"),
        (EMBED, json!({"agent_id": "a", "text": "x", "dimensions": 385}), 400, "invalid_request", "385"),
        (
            EMBED,
            json!({"agent_id": "a", "text": "x", "input_type": "poem"}),
            400,
            "invalid_request",
            "input_type",
        ),
        (EMBED, json!({"agent_id": "a", "text": "x", "metadata": [1]}), 400, "invalid_request", "object"),
        (EMBED, json!({"agent_id": "a", "text": long}), 422, "input_too_long", "256"),
        (
            EMBED,
            json!({"agent_id": "a", "text": "x", "on_too_long": "shorten"}),
            400,
            "invalid_request",
            "chunk",
        ),
        ("/api/v1/embeddings/batch", json!([]), 400, "invalid_request", "1"),
        ("/api/v1/embeddings/batch", json!(vec![json!({"text": "x"}); 2049]), 400, "invalid_request", "2048"),
        (SEARCH, json!({"agent_id": "a"}), 400, "invalid_request", "query"),
        (SEARCH, json!({"query": "x", "query_embedding": vector(384)}), 400, "invalid_request", "query"),
        (SEARCH, json!({"query_embedding": vector(384)}), 400, "invalid_request", "space_id"),
        (SEARCH, json!({"query_embedding": vector(383), "space_id": space}), 400, "invalid_request", "384"),
        (
            SEARCH,
            json!({"query_embedding": vec![0.0; 384], "space_id": space}),
            400,
            "invalid_request",
            "zero",
        ),
        (SEARCH, json!({"query": "x", "limit": 0}), 400, "invalid_request", "limit"),
        (SEARCH, json!({"query": "x", "limit": 1001}), 400, "invalid_request", "limit"),
        (SEARCH, json!({"query": "x", "created_after": "yesterday"}), 400, "invalid_request", "RFC 3339"),
        ("/api/v1/embeddings/delete", json!({}), 400, "invalid_request", "filter"),
        (OPENAI, json!({"model": "auto", "input": ""}), 400, "invalid_request", "input"),
        (OPENAI, json!({"model": "auto", "input": []}), 400, "invalid_request", "input"),
        (OPENAI, json!({"model": "auto", "input": vec!["x"; 2049]}), 400, "invalid_request", "2048"),
        (OPENAI, json!({"model": "auto", "input": [[100_000_000]]}), 400, "invalid_request", "token"),
        (
            OPENAI,
            json!({"model": "auto", "input": "x", "encoding_format": "hex"}),
            400,
            "invalid_request",
            "encoding_format",
        ),
        (OPENAI, json!({"model": "auto", "input": "x", "speed": 11}), 400, "invalid_request", "speed"),
        (OPENAI, json!({"model": "nope", "input": "x"}), 404, "not_found", "nope"),
    ];
    for (path, body, status, code, part) in cases {
        let answer = agent.post(path, body.clone()).await;
        let shown: String = body.to_string().chars().take(120).collect();
        assert_eq!(answer.status, status, "{path} {shown}: {}", answer.body);
        answer.refused(status, code);
        let error = &answer.body["error"];
        let said = format!("{} {}", error["message"], error["param"]);
        assert!(said.contains(part), "{path} {shown}: {said}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_before_they_are_read_whole() {
    let running = Running::one("").await;
    let agent = running.agent();
    let raw = |body: Vec<u8>| agent.send(Method::POST, EMBED, body);
    raw(b"{\"text\": \"x\"".to_vec()).await.refused(400, "invalid_request");
    raw(b"{\"text\": \"\xff\xfe\"}".to_vec()).await.refused(400, "invalid_request");
    raw(br#"{"text": "\ud800"}"#.to_vec()).await.refused(400, "invalid_request");
    raw(br#"{"text": "a", "text": "b"}"#.to_vec()).await.refused(400, "invalid_request");
    let deep = format!(r#"{{"text":"x","metadata":{}1{}}}"#, r#"{"a":"#.repeat(5000), "}".repeat(5000));
    raw(deep.into_bytes()).await.refused(400, "invalid_request");
    for number in ["NaN", "1e999", "-Infinity"] {
        let body = format!(r#"{{"query_embedding": [{number}], "space_id": "x@1"}}"#);
        agent.send(Method::POST, SEARCH, body).await.refused(400, "invalid_request");
    }
    let huge = vec![b' '; 100 * 1024 * 1024];
    // the server answers and closes before it has read all of it, which a client may see as either
    let answer = reqwest::Client::new()
        .post(format!("{}{EMBED}", running.url))
        .header("x-api-key", running.keys["agent_key"].as_str().unwrap())
        .header("content-type", "application/json")
        .body(huge)
        .send()
        .await;
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 413);
    }
    running.agent().post(EMBED, json!({"agent_id": "a", "text": "still there"})).await.ok();
}

#[tokio::test]
async fn wrong_keys_routes_and_methods_are_told_apart() {
    let running = Running::one("").await;
    let body = || json!({"agent_id": "a", "text": "x"});
    for key in ["", "nonsense", "emb_live_000000000000_00000000000000000000000000000000_000000"] {
        let answer = Client::new(&running.url, key).post(EMBED, body()).await;
        assert!(answer.refused(401, "unauthenticated").contains("X-API-Key"), "{}", answer.body);
    }
    let mut wrong = running.keys["agent_key"].as_str().unwrap().to_owned();
    let last = wrong.pop().unwrap();
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    Client::new(&running.url, &wrong).post(EMBED, body()).await.refused(401, "unauthenticated");

    let agent = running.agent();
    let answer = agent.post("/api/v1/admin/keys", json!({"name": "k"})).await;
    assert!(answer.refused(403, "forbidden").contains("admin"));
    agent.get("/api/v1/nothing").await.refused(404, "not_found");
    let answer = agent.put(EMBED, body()).await;
    answer.refused(405, "method_not_allowed");
    assert!(answer.header("allow").contains("POST"));
}
