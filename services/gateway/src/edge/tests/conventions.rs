use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use super::harness::{TENANT, TestEdge};
use crate::Settings;

const EMBED: &str = "/api/v1/embeddings";
const OPENAI: &str = "/v1/embeddings";

#[tokio::test]
async fn a_message_reaches_the_service_with_its_caller() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, r#"{"text": "\u00e9 \"x\" \\ 😀 漢", "metadata": {"b": 1.0}}"#).await;
    assert_eq!(got.status, 200, "{got:?}");
    let answer = got.json();
    assert_eq!(answer["embedding"].to_string(), "[0.1,-1.0]");
    let asked = &answer["metadata"];
    assert_eq!(asked["tenant"], TENANT);
    assert_eq!(asked["key"], edge.keys[0].id().as_str());
    assert_eq!(asked["message"]["text"], "é \"x\" \\ 😀 漢");
    assert_eq!(asked["message"]["metadata"].to_string(), r#"{"b":1.0}"#);
    assert_eq!(asked["request_id"], got.header("x-request-id"));
}

#[tokio::test]
async fn an_empty_body_is_an_empty_object() {
    let edge = TestEdge::start().await;
    for path in [EMBED, "/api/v1/embeddings/batch", "/api/v1/embeddings/search"] {
        let got = edge.send(edge.request(Method::POST, path).body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, 200, "{path}: {got:?}");
    }
}

#[tokio::test]
async fn a_batch_is_a_bare_array() {
    let edge = TestEdge::start().await;
    let got = edge.post("/api/v1/embeddings/batch", r#"[{"text": "a"}, {"text": "b"}]"#).await;
    assert_eq!(got.json()["count"], 2, "{got:?}");
    let got = edge.post("/api/v1/embeddings/batch", r#"{"requests": []}"#).await;
    let said = json!("the body: invalid type: map, expected a list");
    assert_eq!((got.status.as_u16(), &got.error()["message"]), (400, &said));
    let got = edge.post("/api/v1/embeddings/batch", r#"[{"text": "a"}, {"txet": "b"}]"#).await;
    assert_eq!(got.error()["param"], "[1].txet");
}

#[tokio::test]
async fn a_message_is_an_object_and_never_a_list_of_its_fields() {
    let edge = TestEdge::start().await;
    for (path, body, said) in [
        (EMBED, r#"["a", "b"]"#, "the body: invalid type: sequence, expected an object"),
        (
            "/api/v1/embeddings/batch",
            r#"[{}, ["a", "b"]]"#,
            "[1]: invalid type: sequence, expected an object",
        ),
        (
            "/api/v1/embeddings/agents",
            r#"{"constraints": [1]}"#,
            "constraints: invalid type: sequence, expected an object",
        ),
    ] {
        let got = edge.post(path, body).await;
        assert_eq!((got.status.as_u16(), &got.error()["message"]), (400, &json!(said)), "{body}");
    }
}

#[tokio::test]
async fn path_and_query_become_fields() {
    let edge = TestEdge::start().await;
    let got = edge.get("/api/v1/embeddings/a%2Fb%20c?return_vector=true").await;
    assert_eq!(got.json()["metadata"]["message"], json!({"embedding_id": "a/b c", "return_vector": true}));
    let got = edge.get("/api/v1/embeddings?page_size=2&created_after=2026-01-31T13:00:00%2B01:00").await;
    let message = &got.json()["embeddings"][0]["metadata"]["message"];
    assert_eq!(message["page_size"], 2);
    assert_eq!(message["created_after"], "2026-01-31T12:00:00Z");
    for (path, param) in [
        ("/api/v1/embeddings/x?embedding_id=y", "embedding_id"),
        ("/api/v1/embeddings?page_sise=2", "page_sise"),
        ("/api/v1/embeddings?page_size=2&page_size=2", "page_size"),
        ("/api/v1/embeddings/%ff", "embedding_id"),
    ] {
        let got = edge.get(path).await;
        assert_eq!((got.status.as_u16(), &got.error()["param"]), (400, &json!(param)), "{path}");
    }
    let same = edge.get("/api/v1/embeddings/x?embedding_id=x").await;
    assert_eq!(same.status, 200, "{same:?}");
}

#[tokio::test]
async fn nothing_sent_is_silently_ignored() {
    let edge = TestEdge::start().await;
    let got = edge.post(&format!("{EMBED}?model=x"), r#"{"text": "x"}"#).await;
    assert_eq!((got.status.as_u16(), &got.error()["param"]), (400, &json!("model")));
    let request = edge.request(Method::GET, EMBED).body(Body::from("{}")).unwrap();
    assert_eq!(edge.send(request).await.error()["param"], "body");
    let request = edge.request(Method::DELETE, "/api/v1/embeddings/x").body(Body::from("{}")).unwrap();
    assert_eq!(edge.send(request).await.error()["param"], "body");
}

#[tokio::test]
async fn a_path_and_a_body_that_disagree_are_refused() {
    let edge = TestEdge::start().await;
    let put = async |body: &str| {
        let request = edge
            .request(Method::PUT, "/api/v1/embeddings/agents/a")
            .body(Body::from(body.to_owned()))
            .unwrap();
        edge.send(request).await
    };
    assert_eq!(put("{}").await.json()["agent_id"], "a");
    assert_eq!(put(r#"{"agent_id": "a"}"#).await.status, 200);
    let got = put(r#"{"agent_id": "b"}"#).await;
    assert_eq!((got.status.as_u16(), &got.error()["param"]), (400, &json!("agent_id")));
}

#[tokio::test]
async fn creating_answers_201_and_errors_of_services_keep_their_parts() {
    let edge = TestEdge::start().await;
    let path = "/api/v1/embeddings/agents";
    assert_eq!(edge.post(path, r#"{"agent_id": "a"}"#).await.status, 201);
    let got = edge.post(path, r#"{"agent_id": "taken"}"#).await;
    let error = got.error();
    assert_eq!(
        (got.status.as_u16(), &error["code"], &error["details"]),
        (409, &json!("conflict"), &json!({"version": 3}))
    );
}

#[tokio::test]
async fn json_is_taken_under_its_own_name_and_under_that_of_curl() {
    let edge = TestEdge::start().await;
    for path in [EMBED, OPENAI] {
        for (kind, status) in [
            ("application/json", 200),
            ("Application/JSON; charset=UTF-8", 200),
            ("application/json;charset=\"utf-8\"", 200),
            ("application/x-www-form-urlencoded", 200),
            ("application/json; charset=latin1", 400),
            ("text/plain", 400),
            ("multipart/form-data; boundary=x", 400),
            ("application/jsonp", 400),
        ] {
            let request = edge.request(Method::POST, path).header("content-type", kind);
            let got = edge.send(request.body(Body::from("{}")).unwrap()).await;
            assert_eq!(got.status.as_u16(), status, "{path} {kind}");
            if status == 400 {
                let error = got.error();
                assert_eq!(error["param"], "Content-Type");
                assert!(error["message"].as_str().unwrap().contains("Content-Type: application/json"));
            }
        }
        let request = edge.request(Method::POST, path).body(Body::from("{}")).unwrap();
        assert_eq!(edge.send(request).await.status, 200);
    }
    let form = edge.request(Method::POST, EMBED).header("content-type", "application/x-www-form-urlencoded");
    let got = edge.send(form.body(Body::from("text=x&agent_id=a")).unwrap()).await;
    assert!(got.error()["message"].as_str().unwrap().contains("not valid JSON"), "{got:?}");
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let edge = TestEdge::start().await;
    for (given, kept) in
        [("my-request_1", true), ("with space", false), (&*"x".repeat(256), false), ("", false)]
    {
        let request = edge.request(Method::GET, EMBED).header("x-request-id", given);
        let got = edge.send(request.body(Body::empty()).unwrap()).await;
        let id = got.header("x-request-id");
        assert_eq!(id == given, kept, "{given:?} {id}");
        assert!(kept || id.parse::<uuid::Uuid>().unwrap().get_version_num() == 7, "{id}");
    }
    for path in ["/", "/health/live", "/nothing", "/v1/embeddings"] {
        assert!(!edge.get(path).await.header("x-request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn an_idempotency_key_reaches_the_service_or_is_refused() {
    let edge = TestEdge::start().await;
    let send = async |keys: &[&str]| {
        let request = edge.request(Method::POST, EMBED);
        let request = keys.iter().fold(request, |request, key| request.header("idempotency-key", *key));
        edge.send(request.body(Body::from("{}")).unwrap()).await
    };
    assert_eq!(send(&["k-1"]).await.json()["metadata"]["idempotency_key"], "k-1");
    assert_eq!(send(&[]).await.json()["metadata"]["idempotency_key"], json!(null));
    for bad in [&["with space"][..], &[""], &["a", "b"]] {
        let got = send(bad).await;
        assert_eq!((got.status.as_u16(), &got.error()["param"]), (400, &json!("Idempotency-Key")), "{bad:?}");
    }
}

#[tokio::test]
async fn a_services_own_metadata_become_headers_and_nothing_else_does() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, "{}").await;
    assert_eq!((got.header("x-embermesh-space"), got.header("x-embermesh-cached")), ("local/m@2", "0/1"));
    assert!(!got.headers.contains_key("x-other"));
}

#[tokio::test]
async fn a_wait_is_told_in_whole_seconds() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, r#"{"text": "limited"}"#).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (429, "2"));
    assert_eq!(got.error()["type"], "rate_limit_error");
}

#[tokio::test]
async fn a_transports_words_do_not_reach_the_client() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, r#"{"text": "foreign"}"#).await;
    assert_eq!(got.status, 503);
    assert!(!got.error()["message"].as_str().unwrap().contains("10.1.2.3"));
}

#[tokio::test]
async fn a_panic_is_an_error_of_ours_and_the_next_request_works() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, r#"{"text": "panic"}"#).await;
    assert_eq!((got.status.as_u16(), &got.error()["code"]), (500, &json!("internal")));
    assert!(!got.body.contains("as asked"));
    assert_eq!(edge.post(EMBED, "{}").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered_504() {
    let edge = TestEdge::start().await;
    let got = edge.post(EMBED, r#"{"text": "never"}"#).await;
    assert_eq!((got.status.as_u16(), &got.error()["code"]), (504, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn routes_and_methods_that_do_not_exist_have_the_one_shape() {
    let edge = TestEdge::start().await;
    for (method, path, status, allow) in [
        (Method::GET, "/nothing", 404, ""),
        (Method::GET, "/api/v1/embeddings/", 404, ""),
        (Method::GET, "/api/v1/embeddings/search", 200, ""),
        (Method::PATCH, "/api/v1/embeddings", 405, "GET,HEAD,POST"),
        (Method::DELETE, "/api/v1/embeddings/search", 405, "POST"),
        (Method::GET, "/v1/embeddings", 405, "POST"),
        (Method::POST, "/health/live", 405, "GET,HEAD"),
        (Method::OPTIONS, "/api/v1/embeddings/batch", 405, "POST"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/v1/embeddings/batch", 405, "POST"),
        (Method::POST, "/embermesh.v1.Embeddings/Embed", 404, ""),
    ] {
        let got = edge.send(edge.request(method.clone(), path).body(Body::empty()).unwrap()).await;
        if status == 200 {
            continue;
        }
        let mut allowed: Vec<&str> = got.header("allow").split(',').filter(|m| !m.is_empty()).collect();
        allowed.sort_unstable();
        assert_eq!(
            (got.status.as_u16(), allowed.join(",").as_str()),
            (status, allow),
            "{method} {path}: {got:?}"
        );
        got.error();
    }
}

#[tokio::test]
async fn whoever_comes_to_the_root_is_told_where_the_routes_are() {
    let edge = TestEdge::start().await;
    let got = edge.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, 404);
    assert!(got.error()["message"].as_str().unwrap().contains("/openapi.json"), "{got:?}");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let edge = TestEdge::start().await;
    for (path, status) in [("/health/live", 200), ("/nothing", 404), (EMBED, 200)] {
        let got = edge.send(edge.request(Method::HEAD, path).body(Body::empty()).unwrap()).await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (status, ""), "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_key_is_told_how_to_show_one() {
    let edge = TestEdge::start().await;
    let mut bodies = Vec::new();
    for (name, value) in [("x-none", ""), ("x-api-key", "wrong"), ("authorization", "Bearer wrong")] {
        let request = Request::post(EMBED)
            .header(name, value)
            .header("x-request-id", "same")
            .body(Body::from("not json"));
        let got = edge.send(request.unwrap()).await;
        assert_eq!(
            (got.status.as_u16(), got.header("www-authenticate")),
            (401, "Bearer realm=\"embermesh\"")
        );
        assert!(got.error()["message"].as_str().unwrap().contains("X-API-Key"));
        bodies.push(got.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test]
async fn requests_are_counted_under_templates() {
    let edge = TestEdge::with(Settings::default(), &[&["search"]]).await;
    edge.get("/api/v1/embeddings/one").await;
    edge.get("/api/v1/embeddings/two").await;
    edge.get("/nothing/at/all").await;
    edge.post(EMBED, "{}").await;
    edge.send(edge.request(Method::from_bytes(b"BREW").unwrap(), "/coffee").body(Body::empty()).unwrap())
        .await;
    let text = edge.metrics.render();
    for line in [
        r#"http_requests_total{method="GET",path="/api/v1/embeddings/{embedding_id}",status="200"} 2"#,
        r#"http_requests_total{method="GET",path="other",status="404"} 1"#,
        r#"http_requests_total{method="POST",path="/api/v1/embeddings",status="403"} 1"#,
        r#"http_requests_total{method="other",path="other",status="404"} 1"#,
        r#"http_request_duration_seconds_count{method="GET",path="/api/v1/embeddings/{embedding_id}"} 2"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
