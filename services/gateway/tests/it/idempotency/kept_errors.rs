//! Which failures a key stands for, and which leave it free.

use serde_json::json;

use super::world::{BATCH, EMBED, OPENAI, World};

#[tokio::test]
async fn a_failure_leaves_the_key_free_for_any_body() {
    let world = World::new().await;
    for (at, (path, failing, status, code)) in [
        (EMBED, json!({"text": ""}), 400, "invalid_request"),
        (EMBED, json!({"text": "fail"}), 422, "input_too_long"),
        (EMBED, json!({"text": "busy"}), 429, "rate_limited"),
        (EMBED, json!({"text": "x", "agent_id": "down"}), 503, "unavailable"),
        (OPENAI, json!({"input": "fail", "model": "m"}), 422, "input_too_long"),
        (OPENAI, json!({"input": ["a", "busy"], "model": "m"}), 429, "rate_limited"),
        (OPENAI, json!({"input": "x", "model": "m", "user": "down"}), 503, "unavailable"),
        (BATCH, json!([]), 400, "invalid_request"),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("k{at}");
        world.send(path, &key, failing).await.refused(*status, code);
        let good = json!({"text": "good", "store": false});
        world.send(EMBED, &key, &good).await.ok();
    }
}

#[tokio::test]
async fn a_failure_that_was_paid_for_and_cannot_pass_is_kept() {
    let world = World::new().await;
    let body = json!({"input": ["a", "fail"], "model": "m"});
    let first = world.send(OPENAI, "k", &body).await.refused(422, "input_too_long");
    let again = world.send(OPENAI, "k", &body).await.refused(422, "input_too_long");
    for field in ["code", "message", "param", "type", "details"] {
        assert_eq!(again.json()["error"][field], first.json()["error"][field]);
    }
    assert_eq!(first.json()["error"]["param"], "input[1]");
    assert_eq!(world.provider.texts(), ["a", "fail"], "the good text is not paid for again");
    world.send(OPENAI, "k", &json!({"input": ["a"], "model": "m"})).await.refused(409, "conflict");
}

#[tokio::test]
async fn a_batch_that_gave_nothing_may_be_tried_again() {
    let world = World::new().await;
    let body = json!([{"text": "busy"}, {"text": "x", "agent_id": "down"}]);
    let got = world.send(BATCH, "k", &body).await;
    assert_eq!((got.status.as_u16(), &got.json()["failed"]), (200, &json!(2)));
    world.send(BATCH, "k", &json!([{"text": "good"}])).await.ok();
}

#[tokio::test]
async fn what_could_not_be_kept_is_refused_before_it_is_paid() {
    let world = World::new().await;
    let texts: Vec<String> = (0..2048).map(|n| n.to_string()).collect();
    let of = |more: serde_json::Value| {
        let entry = |text: &String| {
            let mut entry = json!({"text": text, "store": false});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        json!(texts.iter().map(entry).collect::<Vec<_>>())
    };
    let got = world.send(BATCH, "k", &of(json!({"dimensions": 16000}))).await.refused(413, "too_large");
    assert_eq!(got.json()["error"]["details"]["max_bytes"], 32 * 1024 * 1024);
    // the longest that the catalog knows
    world.send(BATCH, "k", &of(json!({}))).await.refused(413, "too_large");
    let openai = json!({"input": texts, "model": "large"});
    world.send(OPENAI, "k", &openai).await.refused(413, "too_large");
    assert!(world.provider.texts().is_empty());
    for smaller in [json!({"model": "m"}), json!({"return_vector": false, "dimensions": 16})] {
        let key = smaller.to_string().replace(' ', "");
        world.send(BATCH, &key, &of(smaller)).await.ok();
    }
    world.send(OPENAI, "", &json!({"input": ["x"], "model": "large"})).await.ok();
}
