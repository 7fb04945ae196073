//! The books and the routers' pockets under a million random operations: calls out of leases and one by one, answers that are lost,
//! journals that are posted late and twice, kill -9, lost machines, silent routers, midnights, and limits that change.
//!
//! The truth is the list of calls that the provider saw. It is never more than what the books count, which is never more than a limit
//! lets in; and once everything is told, the two are equal to the nano-dollar.

mod calls;
mod checks;
mod held;
mod quotas;
mod router;
mod world;

use std::thread;

use world::{Tally, World};

const WORLDS: u64 = 10;
const OPERATIONS: u64 = 100_000;

/// Another set of worlds than the usual one: `EMBERMESH_SEED=7`.
fn first_seed() -> u64 {
    std::env::var("EMBERMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0) * WORLDS
}

#[test]
fn a_million_random_operations_never_pass_a_limit_and_end_at_what_the_provider_saw() {
    let run = |seed: u64| {
        let mut world = World::new(seed);
        for _ in 0..OPERATIONS {
            world.step();
        }
        world.end()
    };
    let seeds: Vec<u64> = (first_seed()..first_seed() + WORLDS).collect();
    let tallies = thread::scope(|scope| {
        let halves = seeds.chunks(seeds.len().div_ceil(2));
        let threads: Vec<_> = halves
            .map(|seeds| {
                scope.spawn(move || seeds.iter().map(|seed| (*seed, run(*seed))).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut all = Tally::default();
    for (seed, tally) in tallies {
        println!("seed {seed}: {tally:?}");
        all.add(&tally);
    }
    // what never happens proves nothing
    assert!(all.leased > 10_000 && all.direct > 10_000 && all.refused > 1_000, "{all:?}");
    assert!(all.called_back > 100 && all.kills > 100 && all.losses > 10, "{all:?}");
    assert!(all.midnights > 50 && all.repeats > 1_000, "{all:?}");
}
