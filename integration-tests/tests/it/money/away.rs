//! The ledger is away: leased money is spent without it, then the refusal says so, and what is known is served all the while. Inside a
//! lease nobody asks it anything.

use serde_json::json;

use super::{
    balances::{balance, leases, quiet, spent_by},
    fleet::{COST, EMBED, Fleet, one, text},
};
use crate::{
    books,
    running::{Process, wait_until},
};

/// Spends until the router holds leases with something left in them; how much that is.
async fn leased(fleet: &Fleet, agent: &str) -> i64 {
    let sql = fleet.running.sql().await;
    let mut left = 0;
    for round in 0..60 {
        fleet.tally(agent, &format!("{agent} warms up {round}"), 5, 5).await.exactly(5, 5);
        left = balance(&sql, "agent", agent, "day").await.leased / COST;
        if left >= 8 {
            break;
        }
    }
    assert!(left >= 8 && leases(&sql).await > 0, "nothing is leased: the test shows nothing");
    left
}

/// A text that is in memory, for whoever asks.
async fn known_is_served(fleet: &Fleet, agent: &str) {
    let body = one(agent, &text("leaser warms up 0", 0));
    let answer = fleet.clients[0].post(EMBED, body).await;
    assert_eq!((answer.status, answer.header("x-embermesh-cached")), (200, "1/1"), "{}", answer.body);
}

#[tokio::test]
async fn inside_a_lease_requests_are_answered_while_the_ledger_hangs() {
    let mut fleet = Fleet::of(1).await;
    let sql = fleet.running.sql().await;
    // a slice is a hundredth of what remains
    fleet.limit("leaser", 5000 * COST).await;
    leased(&fleet, "leaser").await;
    // it neither answers nor fails: who asked it anything would wait until the test gives up
    let ledger: &mut Process = fleet.running.process("cost-ledger");
    ledger.signal("STOP");
    for n in 0..5 {
        let answer = fleet.clients[0].post(EMBED, one("leaser", &text("hanging", n))).await;
        assert_eq!((answer.status, answer.header("x-embermesh-cached")), (200, "0/1"), "{}", answer.body);
    }
    known_is_served(&fleet, "leaser").await;
    fleet.running.process("cost-ledger").signal("CONT");
    // the books hear of it after all
    books::match_calls(&fleet.simulator, &sql).await;
    quiet(&sql).await;
    let by_first = COST;
    assert_eq!(spent_by(&sql, "leaser").await, fleet.spent() - by_first);
    books::add_up(&sql).await;
}

#[tokio::test]
async fn without_the_ledger_leased_money_is_spent_then_requests_are_refused_and_known_texts_are_served() {
    let mut fleet = Fleet::of(1).await;
    let sql = fleet.running.sql().await;
    fleet.limit("leaser", 2000 * COST).await;
    leased(&fleet, "leaser").await;
    fleet.running.process("cost-ledger").kill();
    let left = balance(&sql, "agent", "leaser", "day").await.leased / COST;
    let mut admitted = 0;
    let refused = loop {
        let answer = fleet.clients[0].post(EMBED, one("leaser", &text("without", admitted))).await;
        if answer.status != 200 {
            break answer;
        }
        admitted += 1;
        assert!(admitted as i64 <= left, "more than was leased is spent");
    };
    println!("{admitted} of {left} leased calls were made without the ledger");
    assert!(admitted > 0, "nothing was admitted without the ledger");
    let message = refused.refused(503, "unavailable");
    assert!(message.contains("ledger") || message.contains("budget"), "{message}");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    known_is_served(&fleet, "leaser").await;
    // an agent without a lease too, and neither is charged for what it did not get
    fleet.clients[0].post(EMBED, one("stranger", &text("stranger", 0))).await.refused(503, "unavailable");
    known_is_served(&fleet, "stranger").await;

    fleet.running.start_again("cost-ledger").await;
    wait_until(|| async {
        fleet.clients[0].post(EMBED, one("leaser", &text("it is back", 0))).await.status == 200
    })
    .await;
    books::match_calls(&fleet.simulator, &sql).await;
    quiet(&sql).await;
    assert_eq!(spent_by(&sql, "stranger").await, 0);
    assert_eq!(balance(&sql, "tenant", "", "day").await.used(), fleet.spent());
    books::add_up(&sql).await;
    fleet.tally("leaser", "and on", 20, 5).await.exactly(20, 20);
    let verified = fleet.running.admin().post("/api/v1/reports/costs/verify", json!({})).await.ok();
    assert_eq!(verified["differences"].as_array().map_or(0, Vec::len), 0, "{verified}");
}
