//! L2 and L7: what the provider saw and what the books say, joined both ways, after kills and after lost answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use embermesh_testing::sim::{Call, Fault};
use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::{
    balances::quiet,
    fleet::{COST, EMBED, Fleet, one, text},
    nanos,
};
use crate::{books, client::Answer, simulated::SMALL};

/// A row of the books.
struct Booked {
    state: String,
    amount: i64,
}

async fn booked(sql: &tokio_postgres::Client) -> BTreeMap<String, Booked> {
    let select = "SELECT attempt_id::text, state, amount_nano_usd FROM ledger.attempts";
    let mut booked = BTreeMap::new();
    for row in sql.query(select, &[]).await.unwrap() {
        let doubled = booked.insert(row.get(0), Booked { state: row.get(1), amount: row.get(2) });
        assert!(doubled.is_none(), "{row:?}");
    }
    booked
}

/// Whether the provider charges for it: it has read and answered it, whatever became of the answer.
fn billed(call: &Call) -> bool {
    call.status == Some(200) || call.fault == Some(Fault::ResetAfterRead)
}

/// Every call is one row, every row that costs anything is one call. Differences may only be on our side, and `presumed`.
fn match_rows(calls: &[Call], booked: &BTreeMap<String, Booked>) {
    let mut called = BTreeSet::new();
    for call in calls {
        let attempt =
            call.attempt.as_deref().unwrap_or_else(|| panic!("a call without an attempt: {call:?}"));
        assert!(called.insert(attempt), "two calls under one attempt: {call:?}");
        let row = booked.get(attempt).unwrap_or_else(|| panic!("not in the books: {call:?}"));
        if call.status == Some(200) {
            assert!(
                matches!(row.state.as_str(), "settled" | "presumed"),
                "{} though answered: {call:?}",
                row.state
            );
        }
    }
    for (attempt, row) in booked.iter().filter(|(attempt, _)| !called.contains(attempt.as_str())) {
        assert!(
            row.state != "settled" && row.state != "reserved",
            "{attempt} is {} without a call",
            row.state
        );
    }
}

/// What is sent while processes die; the answers that came.
async fn load(fleet: &Fleet, name: &str, count: usize) -> Vec<Answer> {
    let sent = (0..count).map(|n| {
        let client = &fleet.clients[n % fleet.clients.len()];
        let agent = ["kept", "free"][n % 3 % 2];
        async move { client.try_post(EMBED, one(agent, &text(name, n))).await }
    });
    stream::iter(sent).buffer_unordered(12).filter_map(std::future::ready).collect().await
}

#[tokio::test]
async fn l2_after_kill_9_every_call_has_its_one_row_and_every_row_its_call() {
    let seed = 20_261_123;
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    fleet.limit("kept", 100_000 * COST).await;
    let (mut answers, mut cut_off) = (Vec::new(), 0);
    // the second router is the sixth process
    for (round, dies) in [1, 2, 5, 1, 2, 5].into_iter().enumerate() {
        let delay = Duration::from_millis(dice.random_range(10..400));
        let name = format!("round {round}");
        let mut process = fleet.running.processes.remove(dies);
        let killed = async {
            tokio::time::sleep(delay).await;
            process.kill();
        };
        let (came, ()) = tokio::join!(load(&fleet, &name, 150), killed);
        fleet.running.processes.insert(dies, process);
        cut_off += came.iter().filter(|answer| answer.status != 200).count();
        answers.extend(came.into_iter().filter(|answer| answer.status == 200));
        fleet.running.start_again_at(dies).await;
    }
    assert!(cut_off > 0 && answers.len() > 200, "{cut_off} cut off, {} answered", answers.len());
    quiet(&sql).await;
    let (calls, rows) = (fleet.simulator.calls(), booked(&sql).await);
    match_rows(&calls, &rows);
    let presumed = rows.values().filter(|row| row.state == "presumed").count();
    println!("{} calls, {} rows, {presumed} presumed, {cut_off} requests failed", calls.len(), rows.len());
    // what was told to clients is what was charged
    let select = "SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM ledger.charges WHERE request_id = $1";
    let select = sql.prepare(select).await.unwrap();
    for answer in &answers {
        let request = answer.header("x-request-id");
        let charged: i64 = sql.query_one(&select, &[&request]).await.unwrap().get(0);
        assert_eq!(charged, nanos(answer.header("x-embermesh-cost-usd")), "{request}: {}", answer.body);
    }
    books::add_up(&sql).await;
    let verified = fleet.running.admin().post("/api/v1/reports/costs/verify", json!({})).await.ok();
    assert_eq!(verified["differences"].as_array().map_or(0, Vec::len), 0, "{verified}");
}

#[tokio::test]
async fn l7_the_providers_invoice_is_the_ledger_but_for_presumed_rows() {
    let fleet = Fleet::one().await;
    let sql = fleet.running.sql().await;
    let provider = &fleet.simulator.deployments()[0];
    let client = &fleet.clients[0];
    let ask = |n: usize| {
        let words = "word ".repeat(n % 13);
        client.post(
            EMBED,
            json!({"agent_id": "payer", "text": format!("{n} {words}"), "model": SMALL, "store": false}),
        )
    };
    let all =
        |from: usize, to: usize| stream::iter((from..to).map(ask)).buffer_unordered(16).collect::<Vec<_>>();
    all(0, 150).await;
    provider.inject([
        Fault::ResetAfterRead.at_rate(0.1),
        Fault::TruncatedJson.at_rate(0.05),
        Fault::status(500).at_rate(0.1),
    ]);
    all(150, 350).await;
    provider.heal();
    quiet(&sql).await;

    let (calls, rows) = (fleet.simulator.calls(), booked(&sql).await);
    match_rows(&calls, &rows);
    // 20 nano-USD a token, 1,000 a character
    let price = |call: &Call| match call.model.as_deref() {
        Some(SMALL) => i64::try_from(call.tokens).unwrap() * 20,
        _ => call.texts.len() as i64 * COST,
    };
    let (mut invoice, mut ledger, mut presumed) = (0, 0, 0);
    for call in &calls {
        let row = &rows[call.attempt.as_deref().unwrap()];
        let owed = if billed(call) { price(call) } else { 0 };
        (invoice, ledger) = (invoice + owed, ledger + row.amount);
        match row.state.as_str() {
            "presumed" => {
                assert!(row.amount >= owed, "presumed below what it cost: {call:?}");
                presumed += row.amount - owed;
            }
            _ => assert_eq!(row.amount, owed, "{}: {call:?}", row.state),
        }
    }
    let uncalled: i64 = rows.values().map(|row| row.amount).sum::<i64>() - ledger;
    println!("{} calls, invoice {invoice}, ledger {ledger}, presumed above it {presumed}", calls.len());
    assert_eq!((ledger - invoice, uncalled), (presumed, 0));
    assert!(presumed > 0, "no answer was lost: the test shows nothing");
    books::add_up(&sql).await;
}
