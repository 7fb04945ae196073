//! Keys: what they may do, and that a revoked one dies at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
};

const PROMISED: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_key_bound_to_an_agent_acts_as_that_agent_alone() {
    let running = Running::one("").await;
    let made = running.admin().post("/api/v1/admin/keys", json!({"name": "bound", "agent_id": "bot"})).await;
    assert_eq!(made.status, 201);
    let bound = Client::new(&running.url, made.ok()["key"].as_str().unwrap());
    let own = bound.post("/api/v1/embeddings", json!({"text": "mine"})).await.ok();
    assert_eq!(own["agent_id"], "bot");
    bound
        .post("/api/v1/embeddings", json!({"agent_id": "else", "text": "x"}))
        .await
        .refused(403, "forbidden");
    for (method, path, body) in [
        ("GET", "", Value::Null),
        ("GET", "/history", Value::Null),
        ("GET", "/models", Value::Null),
        ("GET", "/costs", Value::Null),
        ("POST", "/explain", json!({})),
    ] {
        let path = |agent: &str| format!("/api/v1/embeddings/agents/{agent}{path}");
        let ask = async |agent: &str| match method {
            "GET" => bound.get(&path(agent)).await,
            _ => bound.post(&path(agent), body.clone()).await,
        };
        ask("else").await.refused(403, "forbidden");
        assert_ne!(ask("bot").await.status, 403, "{}", path("bot"));
    }
    running.agent().post("/api/v1/embeddings", json!({"agent_id": "else", "text": "theirs"})).await.ok();
    let found = bound.post("/api/v1/embeddings/search", json!({"query": "theirs", "limit": 1000})).await.ok();
    let agents: Vec<_> =
        found["results"].as_array().unwrap().iter().map(|hit| hit["agent_id"].clone()).collect();
    assert_eq!(agents, ["bot"]);
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let mut running = Running::five("").await;
    let other = running.another_gateway().await;
    let made = running.admin().post("/api/v1/admin/keys", json!({"name": "short-lived"})).await.ok();
    let key = made["key"].as_str().unwrap();
    // the gateway that passes the revocation on, and one that must hear of it from the control plane
    let clients = [Client::new(&running.url, key), Client::new(&other, key)];
    for client in &clients {
        wait_until(|| async { client.get("/api/v1/embeddings").await.status == 200 }).await;
    }
    let path = format!("/api/v1/admin/keys/{}/revoke", made["id"].as_str().unwrap());
    running.admin().post(&path, json!({})).await.ok();
    // the one bound in time that is promised, counted from the answer
    let revoked = Instant::now();
    let mut refused = [false; 2];
    while revoked.elapsed() < PROMISED + PROMISED / 2 {
        for (client, refused) in clients.iter().zip(&mut refused) {
            let sent = revoked.elapsed();
            let answer = client.get("/api/v1/embeddings").await;
            if answer.status == 200 {
                assert!(!*refused, "in force again {sent:?} after it was revoked");
                assert!(sent < PROMISED, "still in force {sent:?} after it was revoked");
            } else {
                answer.refused(401, "unauthenticated");
                *refused = true;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(refused, [true; 2]);
    let listed = running.admin().get("/api/v1/admin/keys").await.ok();
    assert!(!listed.to_string().contains(made["key"].as_str().unwrap()), "a list shows a secret");
}

#[tokio::test]
async fn an_agents_configuration_is_in_force_without_a_restart() {
    let running = Running::one("").await;
    let admin = running.admin();
    let path = "/api/v1/embeddings/agents/prod-agent";
    let body = json!({"embedding_strategy": "quality", "constraints": {"max_cost_per_day": 150.0}});
    let put = admin.put(path, body).await.ok();
    assert_eq!(put["constraints"]["max_cost_per_day"].as_f64(), Some(150.0), "{put}");
    let put = admin.put(path, json!({"pii": {"action": "reject"}})).await.ok();
    assert_eq!(put["embedding_strategy"], "quality", "a merge keeps what is not given: {put}");
    let text = json!({"agent_id": "prod-agent", "text": "write to a.b@example.com"});
    wait_until(|| async { running.agent().post("/api/v1/embeddings", text.clone()).await.status == 422 })
        .await;
    let few = json!({"constraints": {"max_tokens_per_request": 5}, "pii": {"action": "off"}});
    admin.put(path, few).await.ok();
    wait_until(|| async {
        let answer = running.agent().post("/api/v1/embeddings", text.clone()).await;
        answer.status == 422 && answer.body["error"]["code"] == "input_too_long"
    })
    .await;
    admin.put(path, json!({"version": 1, "embedding_strategy": "cost"})).await.refused(409, "conflict");
    admin.put(path, json!({"embedding_stratgy": "cost"})).await.refused(400, "invalid_request");
    admin.post("/api/v1/embeddings/agents", json!({"agent_id": "prod-agent"})).await.refused(409, "conflict");
}
