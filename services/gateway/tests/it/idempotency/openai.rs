use http::HeaderValue;
use serde_json::json;

use super::world::{EMBED, OPENAI, World, send};

#[tokio::test]
async fn an_sdks_request_is_repeated_byte_for_byte_in_either_encoding() {
    let world = World::new().await;
    for (key, body) in [
        ("sdk-1", json!({"input": ["a", "b"], "model": "m", "encoding_format": "base64"})),
        ("sdk-2", json!({"input": ["a", "b"], "model": "m", "encoding_format": "float", "dimensions": 16})),
        ("sdk-3", json!({"input": "a", "model": "auto", "user": "somebody@example.com"})),
        ("sdk-4", json!({"input": [[15339, 1917]], "model": "m"})),
    ] {
        let before = world.provider.texts().len();
        let first = world.send(OPENAI, key, &body).await.ok();
        let asked = world.provider.texts().len();
        assert!(asked > before);
        for _ in 0..3 {
            assert_eq!(world.send(OPENAI, key, &body).await, first);
        }
        assert_eq!(world.provider.texts().len(), asked);
    }
    assert_eq!(world.provider.texts(), ["a", "b", "a", "b", "a", "hello world"]);
}

#[tokio::test]
async fn another_body_under_the_key_is_a_conflict() {
    let world = World::new().await;
    world.send(OPENAI, "k", &json!({"input": ["a"], "model": "m"})).await.ok();
    for other in [
        json!({"input": ["b"], "model": "m"}),
        json!({"input": ["a", "a"], "model": "m"}),
        json!({"input": "a", "model": "m"}),
        json!({"input": ["a"], "model": "large"}),
        json!({"input": ["a"], "model": "m", "dimensions": 8}),
        json!({"input": ["a"], "model": "m", "encoding_format": "base64"}),
        json!({"input": ["a"], "model": "m", "user": "another-agent"}),
    ] {
        let got = world.send(OPENAI, "k", &other).await.refused(409, "conflict");
        assert_eq!(got.json()["error"]["type"], "invalid_request_error");
        assert_eq!(got.json()["error"]["param"], "Idempotency-Key");
    }
    let mut as_agent = world.request(0, OPENAI, "k", &json!({"input": ["a"], "model": "m"}));
    as_agent.headers_mut().insert("x-agent-id", HeaderValue::from_static("another-agent"));
    send(world.app(), as_agent).await.refused(409, "conflict");
    world.send(EMBED, "k", &json!({"text": "a"})).await.refused(409, "conflict");
    assert_eq!(world.provider.texts(), ["a"]);
}
