//! What a breaker costs each call.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use embermesh_resilience::{Breaker, BreakerSettings};

const LEASE: Duration = Duration::from_secs(30);
const TOOK: Duration = Duration::from_millis(80);

fn breaker() -> Arc<Breaker> {
    let settings = BreakerSettings {
        failure_threshold: 5,
        success_threshold: 3,
        open: Duration::from_secs(30),
        window: Duration::from_secs(30),
        minimum_calls: 20,
        failure_rate: 0.5,
        minimum_failure_rate: 0.2,
        slow_call_rate: 0.8,
        slow_call: Duration::from_secs(5),
        half_open_calls: 1,
        ramp: Duration::from_secs(10),
    };
    Arc::new(Breaker::new(settings, 1))
}

fn costs(criterion: &mut Criterion) {
    let now = Instant::now();
    let closed = breaker();
    criterion.bench_function("admit and succeeded", |bench| {
        bench.iter(|| {
            if let Some(permit) = black_box(&closed).admit(black_box(now), LEASE) {
                permit.succeeded(black_box(now), TOOK);
            }
        });
    });
    // a millisecond a call: the window turns once in a thousand
    let (moving, mut later) = (breaker(), now);
    criterion.bench_function("admit and succeeded, time moving", |bench| {
        bench.iter(|| {
            later += Duration::from_millis(1);
            if let Some(permit) = black_box(&moving).admit(later, LEASE) {
                permit.succeeded(later, TOOK);
            }
        });
    });
    criterion.bench_function("standing", |bench| bench.iter(|| black_box(&closed).standing(black_box(now))));
    let open = breaker();
    open.force_open(now);
    criterion.bench_function("rejection", |bench| {
        bench.iter(|| black_box(&open).admit(black_box(now), LEASE).is_none())
    });
}

criterion_group!(benches, costs);
criterion_main!(benches);
