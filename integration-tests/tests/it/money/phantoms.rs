//! L3: what was set aside comes back. After a while of quiet nothing is reserved, leased or presumed, and all that was not spent is there.

use std::time::Duration;

use embermesh_testing::sim::{Fault, Latency};
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::{
    balances::{balance, leases, quiet, spent_by},
    fleet::{COST, EMBED, FIRST, Fleet, one, text},
};
use crate::running::wait_until;

#[tokio::test]
async fn l3_after_quiet_nothing_is_set_aside_and_all_that_was_not_spent_is_available() {
    let mut fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    let calls = 1000;
    fleet.limit("frugal", calls as i64 * COST).await;
    fleet.tally("frugal", "answered", 300, 16).await.exactly(300, 300);

    // calls that fail unbilled, and clients that go away
    let provider = &fleet.simulator.deployments()[0];
    provider.inject([Fault::status(400).times(20)]);
    let refused = fleet.burst("frugal", "refused", 20, 10).await;
    assert!(refused.iter().any(|answer| answer.status == 400), "no call was refused: the test shows nothing");
    provider.heal();
    provider.set_latency(Some(Latency::Fixed { ms: 400.0 }));
    let given_up = (0..20).map(|n| {
        let sent = fleet.clients[n % 2].post(EMBED, one("frugal", &text("given up", n)));
        timeout(Duration::from_millis(100), sent)
    });
    let given_up = join_all(given_up).await;
    assert!(given_up.iter().any(Result::is_err), "nobody went away: the test shows nothing");
    provider.set_latency(None);

    assert!(leases(&sql).await > 0, "nothing was leased: the test shows nothing");
    // one router stops as it should, the other one is killed, and both come again
    let router = fleet.running.process("provider-router");
    router.signal("TERM");
    // the provider lives in this thread: to wait here would keep it from answering what the router waits for
    while router.child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(20)).await;
    }
    fleet.running.start_again("provider-router").await;
    fleet.running.start_again_at(SECOND_ROUTER).await;
    fleet.until_answering().await;
    quiet(&sql).await;
    let of_others = spent_by(&sql, FIRST).await;
    let charged =
        "SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM ledger.charges WHERE agent_id = 'frugal'";
    let charged: i64 = sql.query_one(charged, &[]).await.unwrap().get(0);
    // beside what was answered only calls may cost anything that were cut off, and they say so
    let rows = "SELECT attempt_id::text, state, amount_nano_usd FROM ledger.attempts";
    let rows = sql.query(rows, &[]).await.unwrap();
    let calls_made = fleet.simulator.calls();
    let (mut answered, mut cut_off) = (0, 0);
    for row in &rows {
        let (attempt, state, amount): (&str, &str, i64) = (row.get(0), row.get(1), row.get(2));
        let call = calls_made.iter().find(|call| call.attempt.as_deref() == Some(attempt));
        match call.and_then(|call| call.status) {
            Some(200) => answered += amount,
            Some(status) => assert_eq!((state, amount), ("voided", 0), "{attempt} was refused with {status}"),
            None => {
                assert!(
                    state == "presumed" || (state, amount) == ("voided", 0),
                    "{attempt} is {state}: {call:?}"
                );
                println!("no answer: {state} {amount}, called {}", call.is_some());
                cut_off += amount;
            }
        }
    }
    println!("answered {answered}, cut off {cut_off}, sent {}", fleet.spent());
    assert_eq!((answered, answered + cut_off), (fleet.spent(), charged + of_others));
    assert_eq!(spent_by(&sql, "frugal").await, charged);
    assert_eq!(balance(&sql, "tenant", "", "month").await.used(), charged + of_others);

    let left = calls - usize::try_from(charged / COST).unwrap();
    let tally = fleet.tally("frugal", "the rest", left + 50, 32).await;
    if tally.admitted != left {
        quiet(&sql).await;
        let later = balance(&sql, "agent", "frugal", "day").await;
        println!("{tally:?} of {left}; when all was quiet: {later:?}");
        println!("and then: {:?}", fleet.tally("frugal", "later", 2, 1).await);
    }
    tally.exactly(left, left + 50);
    wait_until(|| async { spent_by(&sql, "frugal").await == calls as i64 * COST }).await;
}

/// After the five processes: the second router, then its gateway.
const SECOND_ROUTER: usize = 5;
