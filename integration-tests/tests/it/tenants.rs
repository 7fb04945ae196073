//! Two tenants in one system: nothing of one is seen, changed or charged by the other.

use serde_json::{Value, json};

use crate::{
    books,
    client::Client,
    money::budget_in_force,
    providers::two_deployments,
    running::{Running, wait_until},
};

const EMBED: &str = "/api/v1/embeddings";
const SEARCH: &str = "/api/v1/embeddings/search";
pub const AGENTS: &str = "/api/v1/embeddings/agents";
const KEYS: &str = "/api/v1/admin/keys";
/// The name of an agent of every tenant.
pub const AGENT: &str = "same-name";
const TEXT: &str = "the same words in both";

/// A tenant with a key for agents and one for its administrator.
pub struct Tenant {
    pub id: String,
    pub agent: Client,
    pub admin: Client,
}

impl Tenant {
    pub fn first(running: &Running) -> Self {
        let id = running.keys["tenant_id"].as_str().unwrap().to_owned();
        Self { id, agent: running.agent(), admin: running.admin() }
    }

    /// Another tenant, made by the operator; in force when this returns.
    pub async fn second(running: &Running) -> Self {
        Self::named(running, "second").await
    }

    /// Another tenant of this name.
    pub async fn named(running: &Running, name: &str) -> Self {
        let made = running.admin().post("/api/v1/admin/tenants", json!({"name": name})).await.ok();
        let admin = Client::new(&running.url, made["admin_key"].as_str().unwrap());
        let key = json!({"name": "of agents", "scopes": ["embed", "search", "read"]});
        let key = admin.post(KEYS, key).await.ok();
        let agent = Client::new(&running.url, key["key"].as_str().unwrap());
        Self { id: made["id"].as_str().unwrap().to_owned(), agent, admin }
    }

    /// Embeds as [`AGENT`].
    pub async fn embed(&self, text: &str) -> Value {
        // the same in both tenants too
        let request_id = text.replace(' ', "-");
        self.agent.post(EMBED, json!({"agent_id": AGENT, "text": text, "request_id": request_id})).await.ok()
    }
}

fn id_of(row: &Value) -> &str {
    row["embedding_id"].as_str().unwrap()
}

#[tokio::test]
async fn the_same_text_of_the_same_agent_is_another_row_in_another_tenant() {
    let (simulator, running) = two_deployments("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let first = one.embed(TEXT).await;
    let second = two.embed(TEXT).await;
    for made in [&first, &second] {
        assert_eq!((&made["cached"], &made["deduplicated"]), (&json!(false), &json!(false)), "{made}");
    }
    assert_ne!(first["embedding_id"], second["embedding_id"]);
    assert_eq!(simulator.calls().len(), 2, "one tenant's memory served the other");
    assert_eq!(id_of(&one.embed(TEXT).await), id_of(&first));
    assert_eq!(id_of(&two.embed(TEXT).await), id_of(&second));

    // at the same moment: what is under way for one is not shared with the other
    let together = "asked for by both at once";
    let (first, second) = tokio::join!(one.embed(together), two.embed(together));
    for made in [&first, &second] {
        assert_eq!((&made["cached"], &made["deduplicated"]), (&json!(false), &json!(false)), "{made}");
    }
    assert_ne!(first["embedding_id"], second["embedding_id"]);
    assert_eq!(simulator.calls().len(), 4);
}

#[tokio::test]
async fn rows_of_another_tenant_are_not_there() {
    let running = Running::one("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let mut rows = Vec::new();
    for n in 0..5 {
        rows.push(one.embed(&format!("row {n} of the first")).await);
    }
    let own = two.embed("the only row of the second").await;
    let first_page = one.agent.get(&format!("{EMBED}?page_size=2")).await.ok();
    let token = first_page["next_page_token"].as_str().unwrap();

    let row = format!("{EMBED}/{}", id_of(&rows[0]));
    two.agent.get(&row).await.refused(404, "not_found");
    two.agent.delete(&row).await.refused(404, "not_found");
    two.admin.delete(&row).await.refused(404, "not_found");
    let own_alone = |found: &Value, list: &str| {
        let ids: Vec<&str> = found[list].as_array().unwrap().iter().map(id_of).collect();
        assert_eq!(ids, [id_of(&own)], "{found}");
    };
    own_alone(&two.agent.get(EMBED).await.ok(), "embeddings");
    own_alone(&two.agent.get(&format!("{EMBED}?agent_id={AGENT}")).await.ok(), "embeddings");
    for query in [
        json!({"query": "row 0 of the first", "limit": 1000}),
        json!({"query": "row 0 of the first", "agent_id": AGENT, "limit": 1000}),
        json!({"query_embedding": rows[0]["embedding"], "space_id": rows[0]["space_id"], "limit": 1000}),
    ] {
        let found = two.agent.post(SEARCH, query).await.ok();
        own_alone(&found, "results");
        assert_eq!(found["count"], 1);
    }
    // a page token of the first says where to go on, not whose rows they are
    let stolen = two.agent.get(&format!("{EMBED}?page_size=2&page_token={token}")).await;
    assert!(rows.iter().all(|row| !stolen.body.to_string().contains(id_of(row))), "{}", stolen.body);

    let count = two.agent.post("/api/v1/embeddings/delete", json!({"agent_id": AGENT})).await.ok();
    assert_eq!(count["count"], 1, "only its own");
    for row in &rows {
        one.agent.get(&format!("{EMBED}/{}", id_of(row))).await.ok();
    }
    assert_eq!(one.agent.get(EMBED).await.ok()["embeddings"].as_array().unwrap().len(), rows.len());
}

#[tokio::test]
async fn configuration_pins_and_keys_of_one_tenant_do_not_touch_the_other() {
    let (_simulator, running) = two_deployments("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let path = format!("{AGENTS}/{AGENT}");
    let local = json!([{"task_type": "general_qa", "primary_models": ["all-MiniLM-L6-v2"]}]);
    let strict = json!({"pii": {"action": "reject"}, "model_preferences": local});
    one.admin.put(&path, strict).await.ok();
    let personal = json!({"agent_id": AGENT, "text": "write to a.b@example.com"});
    wait_until(|| async { one.agent.post(EMBED, personal.clone()).await.status == 422 }).await;

    two.agent.get(&path).await.refused(404, "not_found");
    assert_eq!(two.agent.get(AGENTS).await.ok()["agents"].as_array().map_or(0, Vec::len), 0);
    two.admin.delete(&path).await.refused(404, "not_found");
    two.agent.post(EMBED, personal.clone()).await.ok();
    let space = |made: &Value| made["space_id"].as_str().unwrap().to_owned();
    assert_eq!(space(&one.embed(TEXT).await), "sentence-transformers/all-MiniLM-L6-v2@384");
    assert_eq!(space(&two.embed(TEXT).await), "openai/text-embedding-3-small@1536");
    for (tenant, model) in [(&one, "all-MiniLM-L6-v2"), (&two, "text-embedding-3-small")] {
        let models = tenant.agent.get(&format!("{path}/models")).await.ok();
        assert_eq!(models["pinned_model"], model, "{models}");
    }

    // the same id again is a new agent there, and stays out of the first's way
    two.admin.post(AGENTS, json!({"agent_id": AGENT, "embedding_strategy": "speed"})).await.ok();
    let theirs = one.agent.get(&path).await.ok();
    assert_eq!(theirs["pii"]["action"], "reject", "{theirs}");
    assert_ne!(theirs["embedding_strategy"], "speed", "{theirs}");
    two.admin.delete(&path).await.ok();
    one.agent.get(&path).await.ok();
    one.agent.post(EMBED, personal).await.refused(422, "pii_rejected");

    let key = one.admin.post(KEYS, json!({"name": "of the first"})).await.ok();
    let id = key["id"].as_str().unwrap();
    two.admin.get(&format!("{KEYS}/{id}")).await.refused(404, "not_found");
    two.admin.post(&format!("{KEYS}/{id}/revoke"), json!({})).await.refused(404, "not_found");
    let listed = two.admin.get(KEYS).await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed}");
    assert!(!listed.to_string().contains(id), "{listed}");
    let kept = one.admin.get(&format!("{KEYS}/{id}")).await.ok();
    assert!(kept["revoked_at"].is_null(), "{kept}");
}

#[tokio::test]
async fn costs_and_budgets_are_each_tenants_own() {
    let (_simulator, running) = two_deployments("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    one.agent.post(EMBED, json!({"agent_id": "of-the-first", "text": "some words"})).await.ok();
    let spent = one.embed(TEXT).await["cost_usd"].as_f64().unwrap();
    assert!(spent > 0.0);

    let costs = |tenant: &Tenant| {
        let (admin, path) = (tenant.admin.clone(), format!("{AGENTS}/{AGENT}/costs"));
        async move { admin.get(&path).await.ok() }
    };
    let sql = running.sql().await;
    books::ended(&sql, 2).await;
    let none = costs(&two).await;
    assert_eq!((none["total_cost_usd"].as_f64(), none["request_count"].as_u64()), (Some(0.0), Some(0)));
    let reports = [
        "/api/v1/reports/costs",
        "/api/v1/reports/costs?group_by=key",
        "/api/v1/reports/costs?group_by=model",
        "/api/v1/metrics/costs/by-agent",
    ];
    for path in reports {
        let report = two.admin.get(path).await.ok();
        let rows = if path.ends_with("by-agent") { &report["agents"] } else { &report["rows"] };
        assert_eq!(rows.as_array().map_or(0, Vec::len), 0, "{path}: {report}");
        let report = one.admin.get(path).await.ok();
        let rows = if path.ends_with("by-agent") { &report["agents"] } else { &report["rows"] };
        assert!(!rows.as_array().unwrap().is_empty(), "{path}: {report}");
    }
    // a budget that is used up in one tenant is whole in the other
    let path = format!("{AGENTS}/{AGENT}");
    one.admin.put(&path, json!({"constraints": {"max_cost_per_day": spent}})).await.ok();
    budget_in_force(&running, AGENT).await;
    let more = json!({"agent_id": AGENT, "text": "one more"});
    one.agent.post(EMBED, more).await.refused(402, "budget_exceeded");
    two.admin.put(&path, json!({"constraints": {"max_cost_per_day": 1.0}})).await.ok();
    let own = two.embed("paid by the second").await["cost_usd"].as_f64();
    books::ended(&sql, 3).await;
    let theirs = costs(&two).await;
    assert_eq!((theirs["total_cost_usd"].as_f64(), &theirs["request_count"]), (own, &json!(1)), "{theirs}");
    let report = two.admin.get("/api/v1/reports/costs").await.ok();
    assert_eq!(report["total_cost_usd"].as_f64(), own, "{report}");
    assert!(!report.to_string().contains("of-the-first"), "{report}");
}
