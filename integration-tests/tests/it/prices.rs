//! Prices are edited while the system runs, and what was charged stays.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    books,
    providers::two_deployments,
    running::{Running, wait_until},
};

const MODEL: &str = "text-embedding-3-small";

async fn embed(running: &Running, text: &str) -> Value {
    let body = json!({"agent_id": "priced", "text": text, "model": MODEL});
    running.agent().post("/api/v1/embeddings", body).await.ok()
}

async fn add_price(running: &Running, price: Value) -> Value {
    let path = format!("/api/v1/embedding-models/catalog/{MODEL}/prices");
    running.admin().post(&path, price).await.ok()
}

/// Provider, price of a million tokens, tokens and amount of every call, in order.
async fn booked(sql: &Client) -> Vec<(String, i64, i64, i64)> {
    let select = "SELECT provider, price_per_million_nano_usd, tokens, amount_nano_usd FROM ledger.attempts
                  WHERE state = 'settled' ORDER BY attempt_id";
    let rows = sql.query(select, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[tokio::test]
async fn a_new_price_is_charged_from_its_time_on_and_earlier_calls_keep_theirs() {
    let (_simulator, running) = two_deployments("").await;
    let sql = running.sql().await;
    embed(&running, "before").await;
    books::ended(&sql, 1).await;
    let before = booked(&sql).await;
    assert_eq!(before.iter().map(|call| call.1).collect::<Vec<_>>(), [20_000_000]);

    add_price(&running, json!({"per_million_tokens_usd": 9, "effective_from": "2100-01-01T00:00:00Z"})).await;
    let past = json!({"per_million_tokens_usd": 9, "effective_from": "2026-01-01T00:00:00Z"});
    let path = format!("/api/v1/embedding-models/catalog/{MODEL}/prices");
    running.admin().post(&path, past).await.refused(400, "invalid_request");
    add_price(&running, json!({"per_million_tokens_usd": 0.05})).await;
    let (now, texts) = (50_000_000, std::sync::atomic::AtomicU32::new(0));
    wait_until(|| async {
        let n = texts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        embed(&running, &format!("after {n}")).await;
        booked(&sql).await.last().is_some_and(|call| call.1 == now)
    })
    .await;
    // one entry's own comes before everybody's
    add_price(&running, json!({"per_million_tokens_usd": 0.07, "provider": "a-one"})).await;
    add_price(&running, json!({"per_million_tokens_usd": 0.08, "provider": "b-two"})).await;
    wait_until(|| async {
        let n = texts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        embed(&running, &format!("own {n}")).await;
        let (provider, price, ..) = booked(&sql).await.pop().unwrap();
        price == if provider == "a-one" { 70_000_000 } else { 80_000_000 }
    })
    .await;

    let calls = 1 + texts.into_inner();
    books::ended(&sql, usize::try_from(calls).unwrap()).await;
    let all = booked(&sql).await;
    assert_eq!(all[..1], before);
    for (_, price, tokens, amount) in &all {
        assert_eq!(*amount, (tokens * price + 999_999) / 1_000_000, "{all:?}");
    }
    for provider in ["a-one", "b-two"] {
        let prices = all.iter().filter(|call| call.0 == provider).map(|call| call.1);
        assert!(prices.is_sorted(), "an older price came back: {all:?}");
    }
    books::add_up(&sql).await;
}
