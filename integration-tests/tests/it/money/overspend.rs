//! L1 and L8: spending never passes a limit, and what a limit holds is not refused either.

use futures::future::join_all;

use super::{
    balances::{Limit, Sampler, spent_by},
    budgets::Budget,
    fleet::{COST, EMBED, Fleet, Tally, one, text},
};
use crate::running::wait_until;

const AT_ONCE: usize = 64;

#[tokio::test]
async fn l1_spend_and_reservations_never_pass_the_limit_sampled_every_10_ms() {
    let fleet = Fleet::of(4).await;
    let sql = fleet.running.sql().await;
    // a budget so small that nothing is leased; one that routers hold slices of; and one more while they hold leases
    for (agent, calls, asked) in [("small", 37, 4 * AT_ONCE), ("large", 900, 1200), ("again", 250, 500)] {
        let (limit, before) = (calls as i64 * COST, fleet.texts_sent());
        fleet.limit(agent, limit).await;
        let month = Budget::create(&fleet.running, "agent", agent, "month", 2 * limit).await;
        let limits = vec![month.as_limit(), Limit { period: "day", amount: limit, ..month.as_limit() }];
        let sampler = Sampler::start(&fleet.running, limits).await;
        let tally = fleet.tally(agent, agent, asked, AT_ONCE).await;
        wait_until(|| async { spent_by(&sql, agent).await == limit }).await;
        let seen = sampler.stop().await;
        println!(
            "{calls} of {asked}: {tally:?}, {} samples, at most {} leased",
            seen.samples, seen.most_leased
        );
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(seen.samples > 20, "{} samples show nothing", seen.samples);
        tally.exactly(calls, asked);
        assert_eq!(fleet.texts_sent() - before, calls);
        assert!(seen.most_leased > 0 || calls < 100, "{calls} calls and no lease: the test shows nothing");
    }
}

/// BerriAI/litellm#40095.
#[tokio::test]
async fn l8_of_a_thousand_concurrent_first_requests_exactly_those_are_admitted_that_the_budget_holds() {
    let fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    fleet.limit("newborn", 150 * COST).await;
    let before = fleet.texts_sent();
    fleet.tally("newborn", "newborn", 1000, 500).await.exactly(150, 1000);
    assert_eq!(fleet.texts_sent() - before, 150);
    wait_until(|| async { spent_by(&sql, "newborn").await == 150 * COST }).await;

    // a thousand agents that nobody has heard of, each with its first request, under what all may spend together
    let (before, limit) = (fleet.texts_sent(), fleet.spent() + 120 * COST);
    let budget = Budget::create(&fleet.running, "tenant", "", "day", limit).await;
    let sent = (0..1000).map(|n| {
        let client = &fleet.clients[n % 2];
        async move { client.post(EMBED, one(&format!("unheard-of-{n}"), &text("unheard of", n))).await }
    });
    Tally::of(&join_all(sent).await).exactly(120, 1000);
    assert_eq!(fleet.texts_sent() - before, 120);
    wait_until(|| async { budget.balance(&sql).await.spent == limit }).await;
}
