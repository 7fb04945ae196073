//! What a call inside a lease pays for its money: drawn, written down, settled, written down. No ledger, and no wait for one.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use embermesh_provider_router::testing::LeasedCalls;

fn costs(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (Ok(runtime), Ok(dir)) = (runtime, tempfile::tempdir()) else { return };
    let _entered = runtime.enter();
    let Ok(calls) = LeasedCalls::new(dir.path()) else { return };
    criterion.bench_function("reserve, record, settle, record", |bench| {
        bench.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for round in 0..rounds {
                let started = Instant::now();
                let leased = runtime.block_on(calls.call());
                took += started.elapsed();
                assert!(leased, "the call was not paid out of the lease");
                if round % 1024 == 0 {
                    calls.ship();
                }
            }
            calls.ship();
            took
        });
    });
    percentiles(&runtime, &calls);
}

/// The tail, which criterion does not show.
fn percentiles(runtime: &tokio::runtime::Runtime, calls: &LeasedCalls) {
    let mut took: Vec<Duration> = (0..100_000)
        .map(|round| {
            let started = Instant::now();
            runtime.block_on(calls.call());
            let took = started.elapsed();
            if round % 1024 == 0 {
                calls.ship();
            }
            took
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000];
    println!("p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(900), at(990), at(999));
}

criterion_group!(benches, costs);
criterion_main!(benches);
