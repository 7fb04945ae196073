//! What the operator says of a tenant holds on every replica: its state, and the models that it may use.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{LARGE, QUIET, SMALL, SMALL_SPACE, candidate, configure, entry, openai, system, yaml},
    tenants::{AGENTS, Tenant},
};

const TENANTS: &str = "/api/v1/admin/tenants";
const EMBED: &str = "/api/v1/embeddings";
const SELECT: &str = "/api/v1/embedding-models/select";

async fn change(running: &Running, tenant: &Tenant, change: Value) -> Value {
    running.admin().put(&format!("{TENANTS}/{}", tenant.id), change).await.ok()
}

fn text(text: &str) -> Value {
    json!({"agent_id": "a", "text": text})
}

#[tokio::test]
async fn a_tenant_that_is_suspended_or_closed_is_refused_on_every_gateway_and_keeps_its_rows() {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
    let other = running.another_gateway().await;
    let made = running.admin().post(TENANTS, json!({"name": "acme"})).await.ok();
    let key = made["admin_key"].as_str().unwrap();
    let clients = [Client::new(&running.url, key), Client::new(&other, key)];
    let tenant = Tenant {
        id: made["id"].as_str().unwrap().to_owned(),
        agent: clients[0].clone(),
        admin: clients[0].clone(),
    };
    wait_until(|| async { clients[1].get(EMBED).await.status == 200 }).await;
    let row = tenant.agent.post(EMBED, text("a row of acme")).await.ok();

    let refused = async |status: u16| {
        let begun = Instant::now();
        for client in &clients {
            wait_until(|| async { client.get(EMBED).await.status == status }).await;
        }
        println!("refused on every gateway after {:?}", begun.elapsed());
        for client in &clients {
            for path in [EMBED, "/v1/models", "/api/v1/admin/keys", "/api/v1/reports/costs"] {
                assert_eq!(client.get(path).await.status, status, "{path}");
            }
            assert_eq!(client.post(EMBED, text("no more")).await.status, status);
        }
    };
    change(&running, &tenant, json!({"suspended": true})).await;
    refused(403).await;
    let told = clients[1].get(EMBED).await;
    assert!(told.refused(403, "forbidden").contains("suspended"));
    // nobody else is
    running.agent().get(EMBED).await.ok();
    change(&running, &tenant, json!({"suspended": false})).await;
    wait_until(|| async { clients[1].get(EMBED).await.status == 200 }).await;
    assert_eq!(tenant.agent.get(EMBED).await.ok()["embeddings"][0]["embedding_id"], row["embedding_id"]);

    running.admin().delete(&format!("{TENANTS}/{}", tenant.id)).await.ok();
    refused(401).await;
    let rows: i64 = running
        .sql()
        .await
        .query_one(
            "SELECT count(*) FROM store.embedding_keys WHERE tenant_id = $1::text::uuid",
            &[&tenant.id],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 1, "a closed tenant keeps its rows");
    running.agent().get(EMBED).await.ok();
}

#[tokio::test]
async fn a_tenant_uses_the_models_that_it_may_and_no_other() {
    let (_simulator, running) = system(&["a-one"], &[SMALL, LARGE], &[QUIET]).await;
    let tenant = Tenant::second(&running).await;
    change(&running, &tenant, json!({"allowed_models": [SMALL], "default_models": [SMALL]})).await;
    let listed = tenant.agent.get("/v1/models").await.ok();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [SMALL]);
    assert!(running.agent().get("/v1/models").await.ok()["data"].as_array().unwrap().len() > 5);

    let by_name = |model: &str| {
        let (agent, body) = (tenant.agent.clone(), json!({"model": model, "input": "named"}));
        async move { agent.post("/v1/embeddings", body).await }
    };
    let refusal = by_name(LARGE).await;
    assert!(refusal.refused(403, "forbidden").contains(LARGE), "{}", refusal.body);
    assert_eq!(refusal.body["error"]["param"], "model");
    by_name(SMALL).await.ok();
    by_name("gpt-4").await.refused(404, "not_found");
    assert_eq!(tenant.agent.post(EMBED, text("by default")).await.ok()["space_id"], SMALL_SPACE);

    // an agent that prefers the other is served by what is left, and told why
    let preferences =
        json!([{"task_type": "general_qa", "primary_models": [LARGE], "fallback_models": [SMALL]}]);
    let prefers = json!({"model_preferences": preferences});
    tenant.admin.put(&format!("{AGENTS}/docs"), prefers.clone()).await.ok();
    configure(&running, "docs", prefers).await;
    let explained = tenant.admin.post(&format!("{AGENTS}/docs/explain"), json!({})).await.ok();
    let excluded = candidate(&explained, LARGE);
    assert_eq!(excluded["status"], "excluded", "{explained}");
    assert!(excluded["reason"].as_str().unwrap().contains("may not use"), "{excluded}");
    assert_eq!(explained["chosen"], format!("a-one/{SMALL}"), "{explained}");
    let served = tenant.agent.post(EMBED, json!({"agent_id": "docs", "text": "served"})).await.ok();
    assert_eq!(served["space_id"], SMALL_SPACE);
    let ours = running.agent().post(EMBED, json!({"agent_id": "docs", "text": "served"})).await.ok();
    assert_eq!(ours["model_used"], LARGE, "the other tenant is not touched: {ours}");

    // what lies in a space that is no longer allowed is not continued in another one
    change(&running, &tenant, json!({"clear": ["default_models"], "allowed_models": [LARGE]})).await;
    let told = tenant.agent.post(EMBED, json!({"agent_id": "docs", "text": "more"})).await;
    assert!(told.refused(403, "forbidden").contains(SMALL), "{}", told.body);
    change(&running, &tenant, json!({"clear": ["allowed_models"]})).await;
    tenant.agent.post(EMBED, json!({"agent_id": "docs", "text": "more"})).await.ok();
}

#[tokio::test]
async fn select_tells_what_a_text_would_go_to_and_what_it_would_cost() {
    let (simulator, running) = system(&["a-one"], &[SMALL, LARGE], &[QUIET]).await;
    let preferences = json!([{"task_type": "general_qa", "primary_models": [LARGE]}]);
    configure(&running, "docs", json!({"model_preferences": preferences})).await;
    let asked = json!({"agent_id": "docs", "task_type": "general_qa", "token_estimate": 1_000_000});
    let selected = running.agent().post(SELECT, asked.clone()).await.ok();
    assert_eq!(selected["deployment"], format!("a-one/{LARGE}"), "{selected}");
    assert_eq!((&selected["model"], &selected["provider"]), (&json!(LARGE), &json!("a-one")));
    assert_eq!((&selected["dimensions"], &selected["pinned"]), (&json!(3072), &json!(false)));
    assert_eq!(selected["estimated_cost_usd"].as_f64(), Some(0.13), "{selected}");
    assert_eq!(simulator.calls().len(), 0, "nothing was sent");
    let named = json!({"model": SMALL, "dimensions": 256});
    let named = running.agent().post(SELECT, named).await.ok();
    assert_eq!(
        (&named["space_id"], &named["agent_id"]),
        (&json!("openai/text-embedding-3-small@256"), &json!("default"))
    );
    running.agent().post(EMBED, json!({"agent_id": "docs", "text": "pins"})).await.ok();
    wait_until(|| async { running.agent().post(SELECT, asked.clone()).await.ok()["pinned"] == true }).await;
    running.agent().post(SELECT, json!({"model": "gpt-4"})).await.refused(404, "not_found");
    running.agent().post(SELECT, json!({"agent_id": "a/b"})).await.refused(400, "invalid_request");

    let listed = running.agent().get("/api/v1/embedding-models/providers").await.ok();
    assert_eq!(listed["providers"], json!([{"name": "a-one", "kind": "openai", "models": [LARGE, SMALL]}]));

    // with nothing that can be called there is nothing to select, and the reason is told
    let open = json!({"deployment": format!("a-one/{LARGE}")});
    running.admin().post("/api/v1/admin/circuit-breaker/force-open", open).await.ok();
    let refusal = running.agent().post(SELECT, asked).await;
    assert!(refusal.refused(503, "unavailable").contains(LARGE), "{}", refusal.body);
}

#[tokio::test]
async fn a_model_is_retired_for_everybody_once_nobody_names_it() {
    let (_simulator, running) = system(&["a-one"], &[SMALL, LARGE], &[QUIET]).await;
    let path = format!("/api/v1/embedding-models/catalog/{LARGE}");
    let preferences = json!([{"task_type": "general_qa", "primary_models": [LARGE]}]);
    configure(&running, "docs", json!({"model_preferences": preferences})).await;
    assert!(running.admin().delete(&path).await.refused(409, "conflict").contains("agent docs"));
    running.admin().delete(&format!("{AGENTS}/docs")).await.ok();
    running.admin().delete(&path).await.ok();
    let named = json!({"model": LARGE, "input": "named"});
    wait_until(|| async { running.agent().post("/v1/embeddings", named.clone()).await.status == 404 }).await;
    running.admin().put(&path, json!({"max_batch": 7})).await.ok();
    wait_until(|| async { running.agent().post("/v1/embeddings", named.clone()).await.status == 200 }).await;
    assert_eq!(running.admin().get(&path).await.ok()["max_batch"], 7);
}
