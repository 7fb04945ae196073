//! What reserving out of a lease costs a call, before anything is written down.

use std::{hint::black_box, sync::Arc, thread};

use criterion::{Criterion, criterion_group, criterion_main};
use embermesh_escrow::{Amount, Draw, Pocket};

fn costs(criterion: &mut Criterion) {
    let pocket = Pocket::new(Amount(i64::MAX));
    criterion.bench_function("draw and end", |bench| {
        bench.iter(|| {
            assert_eq!(black_box(&pocket).draw(black_box(Amount(1_000))), Draw::Taken);
            pocket.end(Amount(1_000), black_box(Amount(400)));
        });
    });
    let shared = Arc::new(Pocket::new(Amount(i64::MAX)));
    criterion.bench_function("draw and end, each of 4 threads on one lease", |bench| {
        bench.iter_custom(|rounds| {
            let started = std::time::Instant::now();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..rounds {
                            assert_eq!(shared.draw(black_box(Amount(1_000))), Draw::Taken);
                            shared.end(Amount(1_000), black_box(Amount(1_000)));
                        }
                    });
                }
            });
            started.elapsed()
        });
    });
}

criterion_group!(benches, costs);
criterion_main!(benches);
