//! Limits that change while money is spent: a raised one admits at once, a lowered one refuses what has not begun and takes nothing back.

use std::time::Duration;

use embermesh_testing::sim::Latency;
use tokio::time::sleep;

use super::{
    balances::{balance, quiet},
    fleet::{COST, Fleet, Tally},
    nanos,
};

#[tokio::test]
async fn a_limit_raised_while_in_use_admits_exactly_the_difference() {
    let fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    // while it is spent, from 400 calls to 700
    fleet.limit("growing", 400 * COST).await;
    let spending = async {
        let mut tally = Tally::default();
        for round in 0.. {
            let more = fleet.tally("growing", &format!("round {round}"), 100, 16).await;
            tally.admitted += more.admitted;
            tally.refused += more.refused;
            if tally.admitted >= 700 || round > 40 {
                break;
            }
        }
        tally
    };
    let raising = async {
        sleep(Duration::from_millis(500)).await;
        fleet.limit("growing", 700 * COST).await;
    };
    let (tally, ()) = tokio::join!(spending, raising);
    assert_eq!(tally.admitted, 700);
    fleet.tally("growing", "after", 40, 16).await.exactly(0, 40);
    quiet(&sql).await;
    assert_eq!(balance(&sql, "agent", "growing", "day").await.used(), 700 * COST);
}

#[tokio::test]
async fn a_limit_lowered_below_what_is_committed_lets_it_finish_and_nothing_goes_below_zero() {
    let fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    fleet.limit("shrinking", 2000 * COST).await;
    fleet.tally("shrinking", "before", 200, 16).await.exactly(200, 200);
    // forty are under way when the limit falls to a tenth of what is spent
    let provider = &fleet.simulator.deployments()[0];
    provider.set_latency(Some(Latency::Fixed { ms: 3000.0 }));
    let under_way = fleet.tally("shrinking", "under way", 40, 20);
    let lowering = async {
        sleep(Duration::from_millis(700)).await;
        fleet.limit("shrinking", 20 * COST).await;
    };
    let (tally, ()) = tokio::join!(under_way, lowering);
    tally.exactly(40, 40);
    provider.set_latency(None);
    // leases of the old limit are not spent under the new one
    fleet.tally("shrinking", "after", 50, 16).await.exactly(0, 50);
    let negative = "SELECT count(*) FROM ledger.balances WHERE least(spent, reserved, leased, presumed) < 0";
    assert_eq!(sql.query_one(negative, &[]).await.unwrap().get::<_, i64>(0), 0);
    quiet(&sql).await;
    let committed = balance(&sql, "agent", "shrinking", "day").await;
    assert_eq!(committed.used(), 240 * COST);
    let costs = fleet.running.admin().get("/api/v1/embeddings/agents/shrinking/costs").await.ok();
    let told = |name: &str| nanos(&costs["budget"][name].to_string());
    assert_eq!((told("spent"), told("limit")), (240 * COST, 20 * COST), "{costs}");
    fleet.limit("shrinking", 250 * COST).await;
    fleet.tally("shrinking", "again", 30, 8).await.exactly(10, 30);
}
