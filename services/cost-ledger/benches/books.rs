//! How fast the books are, on a real PostgreSQL, all in one run. Prints figures and asserts nothing.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(dead_code, reason = "the tests' world has more than a measurement needs")]

use std::time::{Duration, Instant};

use embermesh_cost_ledger::Settings;
use embermesh_proto::internal::v1::Entry;
use embermesh_subscription::Snapshot;

#[path = "../tests/it/router.rs"]
mod router;
#[path = "../tests/it/world.rs"]
mod world;

use router::Router;
use world::{World, context, limits, reservation, settlement, tenant};

/// Attempts of one message of a router.
const TOGETHER: usize = 256;
const ROUTERS: usize = 4;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let limited = limits(&[("docs", Some(i64::MAX), None, None)]);
        posted(limited.clone(), 100).await;
        direct(limited.clone(), "with shared commits", Settings::default(), 100).await;
        direct(limited, "one transaction each", Settings { batch: 1, ..Settings::default() }, 20).await;
    });
}

/// Attempts that routers reserved and settled out of leases.
async fn posted(snapshot: Snapshot, posts: usize) {
    let world = World::new(snapshot).await;
    let mut routers = Vec::new();
    for _ in 0..ROUTERS {
        let router = Router::new(&world);
        let lease = router.lease("docs", 1_000_000_000).await;
        let posts: Vec<Vec<Entry>> = (0..posts)
            .map(|_| {
                let pair = |_| {
                    // a clock that stands still fills the indexes of time with equal keys
                    world.clock.advance(Duration::from_millis(1));
                    let attempt = world.attempt();
                    let reserved = lease.reserved(&world, reservation(attempt, "docs", 10));
                    [reserved, router::settlement(attempt, "docs", 7)]
                };
                (0..TOGETHER).flat_map(pair).collect()
            })
            .collect();
        routers.push((router, posts));
    }
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for (router, posts) in routers {
        calls.spawn(async move {
            for entries in posts {
                router.post(entries).await;
            }
        });
    }
    calls.join_all().await;
    let attempts = ROUTERS * posts * TOGETHER;
    println!(
        "posted out of leases, {ROUTERS} routers, {TOGETHER} attempts a message: {:.0} settled attempts/s",
        rate(attempts, start)
    );
}

/// Attempts that are reserved and settled by one call each.
async fn direct(snapshot: Snapshot, what: &str, settings: Settings, each: usize) {
    let world = World::with(snapshot, settings).await;
    let one = Instant::now();
    for _ in 0..200 {
        world.reserve(world.attempt(), "docs", 10).await.unwrap();
    }
    println!("{what}, one caller: {:?} a reservation", one.elapsed() / 200);
    let callers = 64;
    let (mut reserving, mut pairs) = (0.0, 0.0);
    for settles in [false, true] {
        let start = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (mut ledger, by, clock) =
                (world.replica.ledger.clone(), context(tenant(1), None), world.clock.clone());
            let ids: Vec<_> = (0..each).map(|_| world.attempt()).collect();
            calls.spawn(async move {
                for id in ids {
                    clock.advance(Duration::from_micros(500));
                    ledger.reserve(by.request(reservation(id, "docs", 10))).await.unwrap();
                    if settles {
                        ledger.settle(by.request(settlement(id, "docs", 10))).await.unwrap();
                    }
                }
            });
        }
        calls.join_all().await;
        *if settles { &mut pairs } else { &mut reserving } = rate(callers * each, start);
    }
    println!(
        "{what}, {callers} callers, one agent: {reserving:.0} reservations/s, {pairs:.0} settled attempts/s"
    );
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
