//! Idempotency keys over the whole system: a repeat is the answer of the first time, and the books know one charge.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books,
    client::{Answer, Client},
    running::Running,
    simulated::{QUIET, SMALL, entry, in_force, openai, yaml},
};

async fn send(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.send_with(Method::POST, path, body.to_string(), &[("idempotency-key", key)]).await
}

/// What must be the same: the body and what the headers tell of it.
fn content(answer: &Answer) -> (String, Vec<String>) {
    let told = ["space", "provider", "cached", "cost-usd"];
    (
        answer.body.to_string(),
        told.map(|name| answer.header(&format!("x-embermesh-{name}")).to_owned()).to_vec(),
    )
}

#[tokio::test]
async fn a_repeat_through_another_gateway_is_the_same_answer_and_charged_once() {
    let simulator = openai(&["a-one"]).await;
    let entries: Vec<String> =
        simulator.deployments().iter().map(|deployment| entry(deployment, &[SMALL], "")).collect();
    let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
    let second = running.another_pair().await;
    // without a cache nothing but the key keeps a repeat from being paid again
    for agent in ["i", "j", "default"] {
        let path = format!("/api/v1/embeddings/agents/{agent}");
        running.admin().put(&path, json!({"cache": {"enabled": false}})).await.ok();
    }
    in_force().await;
    let key = running.keys["agent_key"].as_str().unwrap();
    let clients = [Client::new(&running.url, key), Client::new(&second, key)];
    let requests = [
        ("/api/v1/embeddings", json!({"agent_id": "i", "text": "one", "model": SMALL, "store": false})),
        (
            "/api/v1/embeddings",
            json!({"agent_id": "i", "text": "two, kept", "model": SMALL, "metadata": {"n": 1.0}}),
        ),
        (
            "/api/v1/embeddings/batch",
            json!([
                {"agent_id": "i", "text": "three", "model": SMALL}, {"agent_id": "i", "text": ""},
                {"agent_id": "j", "text": "four", "model": SMALL, "store": false},
            ]),
        ),
        ("/v1/embeddings", json!({"input": ["five", "six"], "model": SMALL})),
        ("/v1/embeddings", json!({"input": "seven", "model": SMALL, "encoding_format": "base64"})),
    ];
    for (at, (path, body)) in requests.iter().enumerate() {
        let key = format!("key-{at}");
        let first = send(&clients[0], path, &key, body).await;
        assert_eq!(first.status, 200, "{}", first.body);
        for client in &clients {
            assert_eq!(content(&send(client, path, &key, body).await), content(&first));
        }
        // the same texts, and no key: paid once more
        let unkeyed = clients[1].post(path, body.clone()).await;
        assert_eq!(unkeyed.status, 200, "{}", unkeyed.body);
    }
    let texts: usize = simulator.calls().iter().map(|call| call.texts.len()).sum();
    assert_eq!(texts, 2 * 7, "each was embedded under its key once, and once without");
    let other = json!({"agent_id": "i", "text": "another", "model": SMALL});
    send(&clients[1], "/api/v1/embeddings", "key-0", &other).await.refused(409, "conflict");
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}

#[tokio::test]
async fn fifty_at_once_with_one_key_make_one_call() {
    let simulator = openai(&["a-one"]).await;
    let entries: Vec<String> =
        simulator.deployments().iter().map(|deployment| entry(deployment, &[SMALL], "")).collect();
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let client = running.agent();
    let body = json!({"agent_id": "i", "text": "at once", "model": SMALL, "store": false});
    let answers = join_all((0..50).map(|_| send(&client, "/api/v1/embeddings", "k", &body))).await;
    let (good, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!good.is_empty());
    assert!(good.iter().all(|answer| content(answer) == content(good[0])));
    for answer in refused {
        answer.refused(409, "conflict");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(simulator.calls().len(), 1);
}
