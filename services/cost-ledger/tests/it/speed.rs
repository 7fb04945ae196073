//! How fast the books are. Prints and asserts nothing about time: run with `--ignored --nocapture`.

use std::time::Instant;

use crate::world::{World, context, limits, reservation, settlement, tenant};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn pairs_of_reserve_and_settle() {
    let world = World::new(limits(&[("docs", Some(i64::MAX), None, None)])).await;
    let one = Instant::now();
    for _ in 0..300 {
        world.spend("docs", 10).await;
    }
    println!("one at a time: {:?} a pair", one.elapsed() / 300);
    for (what, nanos, agents) in
        [("one agent", 10, 1), ("64 agents", 10, 64), ("free", 0, 1), ("one agent again", 10, 1)]
    {
        let (callers, each) = (64, 100);
        let start = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..callers {
            let mut ledger = world.replica.ledger.clone();
            let by = context(tenant(1), None);
            let agent = format!("agent-{}", n % agents);
            let ids: Vec<_> = (0..each).map(|_| world.attempt()).collect();
            calls.spawn(async move {
                for id in ids {
                    ledger.reserve(by.request(reservation(id, &agent, nanos))).await.unwrap();
                    ledger.settle(by.request(settlement(id, &agent, nanos))).await.unwrap();
                }
            });
        }
        calls.join_all().await;
        let rate = f64::from(callers * each) / start.elapsed().as_secs_f64();
        println!("{callers} at a time, {what}: {rate:.0} pairs/s");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "temporary"]
async fn explain_tmp() {
    let world = World::new(limits(&[])).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut ledger = world.replica.ledger.clone();
        let by = context(tenant(1), None);
        let ids: Vec<_> = (0..60).map(|_| world.attempt()).collect();
        calls.spawn(async move {
            for id in ids {
                ledger.reserve(by.request(reservation(id, "a", 1))).await.unwrap();
                ledger.settle(by.request(settlement(id, "a", 1))).await.unwrap();
            }
        });
    }
    calls.join_all().await;
    let app = world.connect(embermesh_postgres::Role::App).await;
    let session = app.tenant(tenant(1).uuid()).with("enable_seqscan", "off").with("enable_hashjoin", "off").with("enable_mergejoin", "off").with("jit", "off");
    for sql in [
        "EXPLAIN (ANALYZE, BUFFERS) SELECT a.attempt_id, a.state FROM unnest((SELECT array_agg(attempt_id) FROM (SELECT attempt_id FROM attempts LIMIT 64) x), (SELECT array_agg(created_at) FROM (SELECT created_at FROM attempts LIMIT 64) x)) AS asked (attempt_id, created_at) JOIN attempts a ON a.tenant_id = '00000000-0000-0000-0000-000000000001' AND a.attempt_id = asked.attempt_id AND a.created_at = asked.created_at FOR UPDATE OF a",
        "EXPLAIN (ANALYZE, BUFFERS) UPDATE attempts a SET state = s.state, amount_nano_usd = 1 FROM unnest((SELECT array_agg(attempt_id) FROM (SELECT attempt_id FROM attempts LIMIT 64) x), (SELECT array_agg(created_at) FROM (SELECT created_at FROM attempts LIMIT 64) x), (SELECT array_agg(state) FROM (SELECT state FROM attempts LIMIT 64) x)) AS s (attempt_id, created_at, state) WHERE a.tenant_id = '00000000-0000-0000-0000-000000000001' AND a.attempt_id = s.attempt_id AND a.created_at = s.created_at AND a.state = 'reserved'",
    ] {
        for row in session.execute_returning(sql, &[]).await.unwrap() {
            println!("{}", row.get::<_, String>(0));
        }
        println!();
    }
}
