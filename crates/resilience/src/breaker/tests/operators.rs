//! What people can force, and that nothing but people ends it.

use super::*;

#[test]
fn forced_open_lets_nothing_through_not_even_the_last_resort() {
    let bench = Bench::new(settings());
    bench.breaker.force_open(bench.now);
    assert!(bench.admit().is_none());
    assert!(bench.breaker.last_resort(bench.now, LEASE).is_none());
    let standing = bench.standing();
    assert_eq!((standing.state, standing.retry_at), (BreakerState::ForcedOpen, None));
}

#[test]
fn forced_open_does_not_end_by_itself() {
    for mut bench in [Bench::new(settings()), Bench::open(settings()), Bench::half_open(settings())] {
        let probe = bench.admit();
        bench.breaker.force_open(bench.now);
        bench.wait(seconds(24 * 3_600));
        assert!(bench.admit().is_none());
        if let Some(probe) = probe {
            probe.succeeded(bench.now, FAST);
        }
        assert_eq!(bench.state(), BreakerState::ForcedOpen);
    }
}

#[test]
fn forced_closed_lets_everything_through_and_only_counts() {
    let mut bench = Bench::open(settings());
    bench.breaker.force_closed(bench.now);
    for _ in 0..100 {
        assert!(bench.admit().is_some());
        bench.fail();
        bench.wait(millis(100));
    }
    let report = bench.report();
    assert_eq!((report.state, report.calls, report.failure_rate), (BreakerState::ForcedClosed, 100, 1.0));
    assert_eq!((report.opened, bench.standing().suspect), (1, false));
}

#[test]
fn reset_forgets_everything() {
    let mut bench = Bench::half_open(settings());
    bench.fail();
    bench.wait_until_half_open();
    bench.fail();
    bench.breaker.reset(bench.now);
    let report = bench.report();
    assert_eq!((report.state, report.failures, report.calls), (BreakerState::Closed, 0, 0));
    assert_eq!(bench.standing().share.to_bits(), 1.0_f64.to_bits(), "no ramp");
    for _ in 0..5 {
        bench.fail();
        bench.wait(millis(63));
    }
    assert!(bench.open_for() < seconds(32), "and no failed returns");
}

#[test]
fn results_from_before_a_reset_are_dropped() {
    let mut bench = Bench::new(settings());
    let out: Vec<Permit> = (0..30).map(|_| bench.admit().unwrap()).collect();
    bench.breaker.reset(bench.now);
    for permit in out {
        bench.wait(millis(100));
        permit.failed(bench.now, FAST);
    }
    assert_eq!((bench.state(), bench.report().calls), (BreakerState::Closed, 0));
}

/// A snapshot of state and count of openings tells which changes lie between it and the next one.
fn is_legal(before: (BreakerState, u64), after: (BreakerState, u64)) -> bool {
    use BreakerState::{Closed, HalfOpen, Open};
    match (before, after) {
        ((_, opened), (_, later)) if opened < later => true,
        ((_, opened), (_, later)) if opened > later => false,
        ((Open, _), (Open | HalfOpen | Closed, _)) => true,
        ((HalfOpen, _), (HalfOpen | Closed, _)) => true,
        ((Closed, _), (Closed, _)) => true,
        _ => false,
    }
}

#[test]
fn threads_make_no_illegal_change_of_state() {
    let quick = BreakerSettings {
        open: millis(400),
        failure_threshold: 2,
        success_threshold: 2,
        half_open_calls: 2,
        ..settings()
    };
    let mut bench = Bench::new(quick);
    let clock = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bench, clock) = (&bench, &clock);
            scope.spawn(move || {
                let mut before = (BreakerState::Closed, 0);
                for n in 0..20_000_u64 {
                    let now = bench.now + millis(clock.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
                    let report = bench.breaker.report(now);
                    let after = (report.state, report.opened);
                    assert!(is_legal(before, after), "{before:?} to {after:?}");
                    before = after;
                    let permit = bench.breaker.admit(now, millis(50));
                    match (permit, (n / 300 + thread) % 3, n % 4) {
                        (Some(permit), _, 3) => permit.ignored(),
                        (Some(permit), 0, _) => permit.failed(now, FAST),
                        (Some(permit), ..) => permit.succeeded(now, FAST),
                        (None, ..) => {}
                    }
                }
            });
        }
    });
    bench.wait(seconds(10_000));
    assert!(bench.report().opened > 10, "it went round often");
    while bench.state() != BreakerState::Open {
        bench.fail();
        bench.wait(millis(300));
    }
    bench.wait_until_half_open();
    let probes: Vec<Permit> = (0..10).filter_map(|_| bench.admit()).collect();
    assert_eq!(probes.len(), 2, "and no permit was lost");
}
