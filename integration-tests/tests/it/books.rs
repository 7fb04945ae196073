//! The books against the calls that were made: every call has its one attempt, every nano-dollar its one charge.

use std::collections::{BTreeMap, BTreeSet};

use embermesh_testing::sim::{Fault, Latency, Simulator};
use futures::future::join_all;
use serde_json::json;

use crate::{
    running::wait_until,
    simulated::{QUIET, SMALL, system, unstored},
};

/// Each attempt is charged to requests in full, and balances hold what was spent.
pub async fn add_up(sql: &tokio_postgres::Client) {
    let apart =
        "SELECT a.attempt_id::text, a.state, a.amount_nano_usd, coalesce(sum(c.amount_nano_usd), 0)::bigint
                 FROM ledger.attempts a LEFT JOIN ledger.charges c USING (attempt_id)
                 GROUP BY a.attempt_id, a.state, a.amount_nano_usd
                 HAVING a.amount_nano_usd IS DISTINCT FROM coalesce(sum(c.amount_nano_usd), 0)";
    let apart = sql.query(apart, &[]).await.unwrap();
    assert!(apart.is_empty(), "{apart:?}");
    let spent = "SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM ledger.attempts
                 WHERE state IN ('settled', 'presumed')";
    let spent: i64 = sql.query_one(spent, &[]).await.unwrap().get(0);
    assert!(spent > 0);
    // the tenant's, the agents', the keys' and the providers' each add up to the same
    let balances = "SELECT scope, period, sum(spent)::bigint, sum(reserved)::bigint FROM ledger.balances
                    GROUP BY 1, 2 ORDER BY 1, 2";
    let rows = sql.query(balances, &[]).await.unwrap();
    let balances: Vec<(&str, &str, i64, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let scopes = ["agent", "key", "provider", "tenant"];
    let expected: Vec<_> =
        scopes.iter().flat_map(|scope| ["day", "month"].map(|period| (*scope, period, spent, 0))).collect();
    assert_eq!(balances, expected);
}

/// Waits until so many attempts are in the books, which hear of them later than clients do, and all have ended.
pub async fn ended(sql: &tokio_postgres::Client, attempts: usize) {
    let select = "SELECT count(*), count(*) FILTER (WHERE state = 'reserved') FROM ledger.attempts";
    wait_until(|| async {
        let row = sql.query_one(select, &[]).await.unwrap();
        row.get::<_, i64>(0) >= attempts as i64 && row.get::<_, i64>(1) == 0
    })
    .await;
}

/// Calls and attempts joined by attempt id, both ways: a call without an attempt was not reserved, an attempt without a call never
/// left the house. Where a call answered with vectors, the tokens agree too.
pub async fn match_calls(simulator: &Simulator, sql: &tokio_postgres::Client) {
    ended(sql, simulator.calls().len()).await;
    let rows = sql.query("SELECT attempt_id::text, state, tokens FROM ledger.attempts", &[]).await.unwrap();
    let mut booked: BTreeMap<String, (String, Option<i64>)> = BTreeMap::new();
    for row in &rows {
        let doubled = booked.insert(row.get(0), (row.get(1), row.get(2)));
        assert!(doubled.is_none(), "{row:?}");
    }
    let mut called = BTreeSet::new();
    for call in simulator.calls() {
        let attempt = call.attempt.clone().unwrap_or_else(|| panic!("a call without an attempt: {call:?}"));
        let (state, tokens) = booked.get(&attempt).unwrap_or_else(|| panic!("not in the books: {call:?}"));
        if call.status == Some(200) && call.fault.is_none() {
            assert_eq!((state.as_str(), *tokens), ("settled", i64::try_from(call.tokens).ok()), "{call:?}");
        }
        assert!(called.insert(attempt), "two calls under one attempt: {call:?}");
    }
    let uncalled: Vec<_> =
        booked.iter().filter(|(id, (state, _))| !called.contains(*id) && state != "voided").collect();
    assert!(uncalled.is_empty(), "charged without a call: {uncalled:?}");
}

#[tokio::test]
async fn every_call_is_one_attempt_whatever_becomes_of_it() {
    let (simulator, running) = system(&["a-one", "b-two"], &[SMALL], &[QUIET]).await;
    let client = running.agent();
    for deployment in simulator.deployments() {
        deployment.set_latency(Some(Latency::Uniform { min_ms: 1.0, max_ms: 30.0 }));
        deployment.inject([
            Fault::status(500).at_rate(0.1),
            Fault::ResetAfterRead.at_rate(0.05),
            Fault::WrongCount.at_rate(0.05),
        ]);
    }
    simulator.deployments()[0].refuse_text(Some("unspeakable"));
    simulator.deployments()[1].refuse_text(Some("unspeakable"));
    let texts: Vec<String> = (0..200)
        .map(|n| format!("{} number {}", if n % 20 == 7 { "an unspeakable" } else { "a" }, n % 150))
        .collect();
    let agents = ["ada", "bob", "cleo"];
    join_all(texts.iter().enumerate().map(|(n, text)| {
        let body = unstored(agents[n % 3], text, Some(SMALL));
        let client = client.clone();
        async move { client.post("/api/v1/embeddings", body).await }
    }))
    .await;
    let batch: Vec<_> =
        (0..60).map(|n| json!({"agent_id": "ada", "text": format!("batch {n}"), "model": SMALL})).collect();
    client.post("/api/v1/embeddings/batch", json!(batch)).await.ok();
    let sql = running.sql().await;
    match_calls(&simulator, &sql).await;
    add_up(&sql).await;
}
