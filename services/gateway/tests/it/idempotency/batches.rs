use serde_json::{Value, json};

use super::world::{BATCH, EMBED, World};

fn errors(answer: &Value) -> Vec<Option<String>> {
    let entries = answer["embeddings"].as_array().unwrap();
    entries.iter().map(|entry| entry["error"]["code"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_batch_that_failed_in_part_is_repeated_as_it_was() {
    let world = World::new().await;
    let body = json!([
        {"text": "kept", "metadata": {"a": 1}}, {"text": "fail"}, {"text": ""}, {"text": "free", "store": false},
        {"text": "busy"}, {"text": "small", "return_vector": false}, {"text": "joe@example.com", "agent_id": "b"},
    ]);
    let first = world.send(BATCH, "k", &body).await.ok();
    let answer = first.json();
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(
        errors(&answer),
        [None, code("input_too_long"), code("invalid_request"), None, code("rate_limited"), None, None]
    );
    assert_eq!(answer["failed"], 3);
    assert!(first.body.contains(r#""total_cost_usd":0.00000008,"#), "{first:?}");
    let texts = world.provider.texts().len();
    for _ in 0..3 {
        assert_eq!(world.send(BATCH, "k", &body).await, first);
    }
    assert_eq!(world.provider.texts().len(), texts);
    for other in
        [json!([{"text": "kept"}]), json!([{"text": "kept", "metadata": {"a": 1}}, {"text": "fail"}])]
    {
        let got = world.send(BATCH, "k", &other).await.refused(409, "conflict");
        assert_eq!(got.json()["error"]["param"], "Idempotency-Key");
    }
    world.send(EMBED, "k", &json!({"text": "kept"})).await.refused(409, "conflict");
}

#[tokio::test]
async fn an_entry_has_a_key_of_its_own_in_any_batch_and_alone() {
    let world = World::new().await;
    let one = |text: &str, key: &str| json!({"text": text, "store": false, "request_id": key});
    let alone = world.send(EMBED, "", &one("a", "ka")).await.ok().json();
    let answer =
        world.send(BATCH, "", &json!([one("b", "kb"), one("a", "ka"), {"text": "c"}])).await.ok().json();
    let entries = answer["embeddings"].as_array().unwrap();
    assert_eq!(entries[1], alone, "the same answer in both forms");
    assert_eq!(world.provider.texts(), ["a", "b", "c"]);
    let b = world.send(EMBED, "kb", &json!({"text": "b", "store": false})).await.ok().json();
    assert_eq!(b, entries[0]);

    let mixed = json!([one("other", "ka"), one("b", "kb"), one("d", "kd")]);
    let answer = world.send(BATCH, "", &mixed).await.ok().json();
    assert_eq!(errors(&answer), [Some("conflict".to_owned()), None, None]);
    assert_eq!(answer["embeddings"][0]["error"]["param"], "request_id");
    assert_eq!(answer["embeddings"][1], b);
    assert_eq!(world.provider.texts(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn one_key_twice_in_a_batch_is_one_text_or_a_conflict() {
    let world = World::new().await;
    let one = |text: &str, key: &str| json!({"text": text, "store": false, "request_id": key});
    let body = json!([one("a", "r"), one("a", "r"), one("b", "r"), {"text": "c", "store": false}]);
    let answer = world.send(BATCH, "", &body).await.ok().json();
    assert_eq!(errors(&answer), [None, None, Some("conflict".to_owned()), None]);
    assert_eq!(answer["embeddings"][0], answer["embeddings"][1]);
    assert_eq!(world.provider.texts(), ["a", "c"]);
}

#[tokio::test]
async fn both_kinds_of_keys_go_together() {
    let world = World::new().await;
    let body = json!([{"text": "a", "request_id": "ra"}, {"text": "b"}, {"text": "c", "request_id": "k"}]);
    let first = world.send(BATCH, "k", &body).await.ok();
    // what names the batch cannot name a part of it
    assert_eq!(errors(&first.json()), [None, None, Some("invalid_request".to_owned())]);
    assert_eq!(world.send(BATCH, "k", &body).await, first);
    let entry = world.send(EMBED, "ra", &json!({"text": "a"})).await.ok().json();
    assert_eq!(entry, first.json()["embeddings"][0]);
    assert_eq!(world.provider.texts(), ["a", "b"]);
}

#[tokio::test]
async fn an_entry_under_way_elsewhere_is_refused_alone() {
    let world = World::new().await;
    let slow = json!({"text": "wait", "store": false, "request_id": "slow"});
    let first = world.spawn(EMBED, "", &slow);
    world.provider.asked(1).await;
    let answer = world.send(BATCH, "", &json!([slow, {"text": "b", "store": false}])).await.ok().json();
    assert_eq!(errors(&answer), [Some("conflict".to_owned()), None]);
    assert_eq!(answer["embeddings"][0]["error"]["details"]["retry_after_seconds"], 1);
    world.provider.open();
    let first = first.await.unwrap().unwrap().ok().json();
    let again = world.send(BATCH, "", &json!([slow])).await.ok().json();
    assert_eq!(again["embeddings"][0], first);
}

#[tokio::test]
async fn the_entries_of_a_failed_batch_are_free() {
    let world = World::new().await;
    let entry =
        |agent: &str, text: &str, key: &str| json!({"agent_id": agent, "text": text, "request_id": key});
    let answer =
        world.send(BATCH, "", &json!([entry("down", "x", "r1"), entry("up", "busy", "r2")])).await.json();
    assert_eq!(errors(&answer), [Some("unavailable".to_owned()), Some("rate_limited".to_owned())]);
    let answer =
        world.send(BATCH, "", &json!([entry("up", "x", "r1"), entry("up", "y", "r2")])).await.ok().json();
    assert_eq!(errors(&answer), [None, None]);
}
