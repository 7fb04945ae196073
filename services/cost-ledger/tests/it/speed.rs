//! How fast the books are. Prints and asserts nothing about time: run with `--ignored --nocapture`.

use std::time::{Duration, Instant};

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
        [("one agent", 10, 1), ("64 agents", 10, 64), ("free", 0, 1), ("one agent, fuller books", 10, 1)]
    {
        let (callers, each) = (64, 100);
        let start = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..callers {
            let mut ledger = world.replica.ledger.clone();
            let (by, clock) = (context(tenant(1), None), world.clock.clone());
            let agent = format!("agent-{}", n % agents);
            let ids: Vec<_> = (0..each).map(|_| world.attempt()).collect();
            calls.spawn(async move {
                for id in ids {
                    // a clock that stands still fills the indexes of time with equal keys
                    clock.advance(Duration::from_micros(500));
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
