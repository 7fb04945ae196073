//! Costs and budgets, to the nano-dollar, through the whole system.

mod away;
pub mod balances;
pub mod budgets;
mod calls_and_rows;
mod cheaper;
mod each_budget;
pub mod fleet;
mod limits_changed;
mod overspend;
mod phantoms;
mod recomputed;
mod refused_too_early;

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    books,
    providers::two_deployments,
    running::{Running, wait_until},
};

const MODEL: &str = "text-embedding-3-small";

#[tokio::test]
async fn every_provider_call_is_one_row_and_the_reports_add_up() {
    let (simulator, running) = two_deployments("").await;
    let agent = running.agent();
    let mut total = 0_i64;
    for n in 0..10 {
        let body = json!({"agent_id": format!("a{}", n % 2), "text": format!("some words number {n}"), "model": MODEL});
        let made = agent.post("/api/v1/embeddings", body).await;
        total += nanos(made.header("x-embermesh-cost-usd"));
        let made = made.ok();
        // 0.02 USD per million tokens
        assert_eq!(
            nanos(&made["cost_usd"].to_string()),
            made["tokens_used"].as_i64().unwrap() * 20,
            "{made}"
        );
    }
    let sql = running.sql().await;
    books::ended(&sql, simulator.calls().len()).await;
    let rows = sql.query("SELECT attempt_id::text, state FROM ledger.attempts", &[]).await.unwrap();
    let booked: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let called: BTreeSet<String> =
        simulator.calls().iter().map(|call| call.attempt.clone().unwrap()).collect();
    assert_eq!(booked, called);
    assert!(rows.iter().all(|row| row.get::<_, &str>(1) == "settled"));

    let report = running.admin().get("/api/v1/reports/costs").await.ok();
    assert_eq!(nanos(&report["total_cost_usd"].to_string()), total, "{report}");
    let by_agent = running.admin().get("/api/v1/metrics/costs/by-agent").await.ok();
    let sum: i64 =
        by_agent["agents"].as_array().unwrap().iter().map(|a| nanos(&a["total_cost"].to_string())).sum();
    assert_eq!(sum, total, "{by_agent}");
    // the operations guide's query, as printed
    let guide = "SELECT agent_id, SUM(cost_usd) as total_cost, COUNT(*) as request_count FROM embedding_metrics \
                 WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY agent_id ORDER BY total_cost DESC";
    sql.batch_execute("SET ROLE embermesh_operator; SET search_path = store, ledger, admin").await.unwrap();
    assert_eq!(sql.query(guide, &[]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_spent_day_budget_refuses_before_the_provider_is_called() {
    let (simulator, running) = two_deployments("").await;
    // one call of this text reserves its bytes + 16 tokens at 20 nano-USD each
    let budget = json!({"constraints": {"max_cost_per_day": 0.000001}});
    running.admin().put("/api/v1/embeddings/agents/poor", budget).await.ok();
    budget_in_force(&running, "poor").await;
    let mut admitted = 0;
    let mut refused = 0;
    for n in 0..20 {
        let body = json!({"agent_id": "poor", "text": format!("text number {n}"), "model": MODEL});
        let answer = running.agent().post("/api/v1/embeddings", body).await;
        if answer.status == 200 {
            admitted += 1;
        } else {
            answer.refused(402, "budget_exceeded");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 86_400);
            refused += 1;
        }
    }
    assert!(admitted > 0 && refused > 0, "{admitted} admitted, {refused} refused");
    assert_eq!(simulator.calls().len(), admitted);
    let costs = running.admin().get("/api/v1/embeddings/agents/poor/costs").await.ok();
    assert!(nanos(&costs["budget"]["spent"].to_string()) <= 1000, "{costs}");
    assert_eq!(nanos(&costs["budget"]["limit"].to_string()), 1000, "{costs}");
}

#[tokio::test]
async fn a_budget_for_exactly_one_call_admits_exactly_one() {
    let (simulator, running) = two_deployments("").await;
    // "one two three" is three tokens at 20 nano-USD
    let budget = json!({"constraints": {"max_cost_per_day": 0.00000006}});
    running.admin().put("/api/v1/embeddings/agents/exact", budget).await.ok();
    budget_in_force(&running, "exact").await;
    let body = json!({"agent_id": "exact", "text": "one two three", "model": MODEL});
    running.agent().post("/api/v1/embeddings", body).await.ok();
    let body = json!({"agent_id": "exact", "text": "four", "model": MODEL});
    running.agent().post("/api/v1/embeddings", body).await.refused(402, "budget_exceeded");
    assert_eq!(simulator.calls().len(), 1);
}

#[tokio::test]
async fn what_is_in_memory_costs_nothing_and_is_booked_as_saved() {
    let (_simulator, running) = two_deployments("").await;
    let body = || json!({"agent_id": "c", "text": "twice the same", "model": MODEL});
    running.agent().post("/api/v1/embeddings", body()).await.ok();
    let again = running.agent().post("/api/v1/embeddings", body()).await;
    assert_eq!((again.header("x-embermesh-cached"), again.header("x-embermesh-cost-usd")), ("1/1", "0"));
    let admin = running.admin();
    wait_until(|| async {
        nanos(&admin.get("/api/v1/reports/costs").await.ok()["saved_usd"].to_string()) > 0
    })
    .await;
}

/// Waits until the ledger, which decides, knows the agent's budget.
pub async fn budget_in_force(running: &Running, agent: &str) {
    let (admin, path) = (running.admin(), format!("/api/v1/embeddings/agents/{agent}/costs"));
    wait_until(|| async { admin.get(&path).await.ok()["budget"]["limit"].is_number() }).await;
}

/// A decimal number of USD as nano-USD. `serde_json::Value` has made a float of it, which small amounts survive.
pub fn nanos(text: &str) -> i64 {
    (text.parse::<f64>().unwrap() * 1e9).round() as i64
}

/// Nano-USD as the API takes money; every amount of these tests survives the float.
pub fn usd(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// The system runs without a provider that costs money.
#[tokio::test]
async fn the_local_model_is_free_and_still_booked() {
    let running = Running::one("").await;
    running.agent().post("/api/v1/embeddings", json!({"agent_id": "f", "text": "free"})).await.ok();
    let select = "SELECT state, amount_nano_usd, tokens FROM ledger.attempts";
    let sql = running.sql().await;
    books::ended(&sql, 1).await;
    let row = sql.query_one(select, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), ("settled", Some(0_i64)));
    assert!(row.get::<_, i64>(2) > 0);
}
