//! The control plane is gone: what is configured goes on working, what would change the configuration says so.

use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
};

const SETTLED: &str = "settled-agent";

#[tokio::test]
async fn without_the_control_plane_agents_go_on_embedding_and_searching() {
    let mut running = Running::five("").await;
    let client = running.agent();
    embed(&client, SETTLED, "the ferry leaves at noon").await;
    running.process("admin").kill();

    served(&client, "embedded without the control plane").await;
    change_is_refused(&running.admin()).await;
    // an agent that never embedded has no space, and nobody is there who could fix one
    let body = json!({"agent_id": "newcomer", "text": "which space?"});
    client.post("/api/v1/embeddings", body).await.refused(503, "unavailable");

    running.start_again("admin").await;
    let admin = running.admin();
    wait_until(|| async {
        admin.put(&agent_path(), json!({"embedding_strategy": "cost"})).await.status == 200
    })
    .await;
    embed(&client, "newcomer", "this one").await;
}

#[tokio::test]
async fn processes_that_start_without_the_control_plane_serve_from_their_copy() {
    let mut running = Running::five("").await;
    let client = running.agent();
    embed(&client, SETTLED, "the ferry leaves at noon").await;
    // the copies follow the stream at their own pace
    let folder = running.dir.parent().unwrap().to_owned();
    let holds = |file: &str, part: &str| {
        let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
        bytes.windows(part.len()).any(|window| window == part.as_bytes())
    };
    let key_id = running.keys["agent_key"].as_str().unwrap().split('_').nth(2).unwrap().to_owned();
    wait_until(|| async {
        holds("provider-router/router.snapshot", SETTLED) && holds("gateway/gateway.snapshot", &key_id)
    })
    .await;
    running.process("admin").kill();

    // killed, not told to stop: nothing is saved on the way out
    for service in ["provider-router", "gateway", "cost-ledger", "vector-store"] {
        running.start_again(service).await;
    }
    let client = running.agent();
    served(&client, "embedded by processes that never met the control plane").await;
    change_is_refused(&running.admin()).await;
    let unknown = Client::new(&running.url, "emb_live_000000000000_00000000000000000000000000000000_000000");
    unknown.get("/api/v1/embeddings").await.refused(401, "unauthenticated");
}

fn agent_path() -> String {
    format!("/api/v1/embeddings/agents/{SETTLED}")
}

async fn embed(client: &Client, agent: &str, text: &str) -> Value {
    client.post("/api/v1/embeddings", json!({"agent_id": agent, "text": text})).await.ok()
}

/// A new text, the old one from memory, and a search that finds both.
async fn served(client: &Client, text: &str) {
    let new = embed(client, SETTLED, text).await;
    assert_eq!(new["cached"], false, "{new}");
    let old = embed(client, SETTLED, "the ferry leaves at noon").await;
    assert_eq!(old["deduplicated"], true, "{old}");
    for (query, id) in [(text, &new), ("the ferry leaves at noon", &old)] {
        let query = json!({"agent_id": SETTLED, "query": query});
        let found = client.post("/api/v1/embeddings/search", query).await.ok();
        assert_eq!(found["count"], 2, "{found}");
        assert_eq!(found["results"][0]["embedding_id"], id["embedding_id"], "{found}");
    }
}

async fn change_is_refused(admin: &Client) {
    admin.put(&agent_path(), json!({"embedding_strategy": "quality"})).await.refused(503, "unavailable");
    admin.post("/api/v1/admin/keys", json!({"name": "late"})).await.refused(503, "unavailable");
}
