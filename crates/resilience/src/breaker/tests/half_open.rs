//! The way back, where breakers break.

use super::*;

#[test]
fn enough_successful_probes_close_it() {
    let bench = Bench::half_open(settings());
    for _ in 0..2 {
        bench.succeed();
        assert_eq!(bench.state(), BreakerState::HalfOpen);
    }
    bench.succeed();
    assert_eq!((bench.state(), bench.report().calls), (BreakerState::Closed, 0));
}

#[test]
fn one_failed_probe_opens_it_again() {
    let bench = Bench::half_open(settings());
    bench.succeed();
    bench.succeed();
    bench.fail();
    assert_eq!((bench.state(), bench.report().opened), (BreakerState::Open, 2));
}

#[test]
fn only_the_permitted_number_of_probes_is_out() {
    for permitted in [1, 3] {
        let bench = Bench::half_open(BreakerSettings { half_open_calls: permitted, ..settings() });
        let out: Vec<Permit> = (0..10).filter_map(|_| bench.admit()).collect();
        assert_eq!(out.len() as u32, permitted);
    }
}

#[test]
fn racing_for_the_probe_on_the_way_from_open_admits_one() {
    for _ in 0..50 {
        let bench = Bench::open(settings());
        let due = bench.standing().retry_at.unwrap();
        let gate = std::sync::Barrier::new(8);
        let admitted: Vec<Option<Permit>> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        bench.breaker.admit(due, LEASE)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(admitted.iter().flatten().count(), 1);
    }
}

#[test]
fn a_probe_whose_caller_went_away_gives_its_permit_back() {
    let bench = Bench::half_open(settings());
    drop(bench.admit().unwrap());
    assert!(bench.admit().is_some());
    assert_eq!(bench.state(), BreakerState::HalfOpen);
}

#[test]
fn an_ignored_last_probe_does_not_leave_it_stuck() {
    let bench = Bench::half_open(settings());
    bench.succeed();
    bench.succeed();
    bench.admit().unwrap().ignored();
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_probe_that_never_reports_fails_when_its_lease_is_over() {
    let mut bench = Bench::half_open(settings());
    std::mem::forget(bench.admit().unwrap());
    bench.wait(LEASE + millis(999));
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert!(bench.admit().is_none());
    bench.wait(millis(1));
    assert_eq!(bench.state(), BreakerState::Open);
    assert!(bench.open_for() >= seconds(57), "it counts as a failed return");
}

#[test]
fn nobody_looking_for_an_hour_does_not_leave_it_stuck() {
    let mut bench = Bench::half_open(settings());
    std::mem::forget(bench.admit().unwrap());
    bench.wait(seconds(3_600));
    // the lease ran out an hour ago, and so did the open time after it
    assert_eq!(bench.report().opened, 2);
    (0..3).for_each(|_| bench.succeed());
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_result_after_the_lease_is_dropped() {
    let mut bench = Bench::half_open(BreakerSettings { success_threshold: 1, ..settings() });
    let probe = bench.admit().unwrap();
    bench.wait(LEASE + seconds(1));
    probe.succeeded(bench.now, LEASE);
    assert_eq!(bench.state(), BreakerState::Open);
}

#[test]
fn late_results_of_calls_from_before_it_opened_are_dropped() {
    let mut bench = Bench::new(settings());
    let (good, bad) = (bench.admit().unwrap(), bench.admit().unwrap());
    let (later_good, later_bad) = (bench.admit().unwrap(), bench.admit().unwrap());
    for _ in 0..5 {
        bench.fail();
        bench.wait(millis(100));
    }
    let until = bench.standing().retry_at;
    good.succeeded(bench.now, FAST);
    bad.failed(bench.now, FAST);
    assert_eq!((bench.state(), bench.standing().retry_at), (BreakerState::Open, until));
    bench.wait_until_half_open();
    later_good.succeeded(bench.now, seconds(30));
    later_bad.failed(bench.now, seconds(30));
    bench.succeed();
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::HalfOpen, "the late success is not the third");
}

#[test]
fn a_late_probe_of_an_earlier_half_open_neither_closes_nor_frees_a_permit() {
    let mut bench =
        Bench::half_open(BreakerSettings { half_open_calls: 2, success_threshold: 1, ..settings() });
    let late = bench.admit().unwrap();
    bench.fail();
    bench.wait_until_half_open();
    let out: Vec<Permit> = (0..3).filter_map(|_| bench.admit()).collect();
    assert_eq!(out.len(), 2);
    late.succeeded(bench.now, seconds(60));
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert!(bench.admit().is_none());
}

#[test]
fn a_probe_that_comes_back_after_others_have_closed_it_is_dropped() {
    let bench = Bench::half_open(BreakerSettings { half_open_calls: 2, success_threshold: 1, ..settings() });
    let late = bench.admit().unwrap();
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::Closed);
    late.failed(bench.now, FAST);
    assert_eq!(bench.report().calls, 0);
}

#[test]
fn its_share_grows_from_a_tenth_to_all_over_the_ramp() {
    let mut bench = Bench::half_open(settings());
    (0..3).for_each(|_| bench.succeed());
    for (waited, share) in [(0, 0.1), (5, 0.55), (4, 0.91), (1, 1.0), (60, 1.0)] {
        bench.wait(seconds(waited));
        assert!((bench.standing().share - share).abs() < 1e-9, "{}", bench.standing().share);
        assert!(bench.admit().is_some(), "the share is for the caller to keep to");
    }
}

#[test]
fn a_service_healed_has_its_full_share_within_45_seconds() {
    for seed in 0..200 {
        let mut bench = Bench::new(settings());
        bench.breaker = Arc::new(Breaker::new(settings(), seed));
        for _ in 0..5 {
            bench.fail();
            bench.wait(millis(63));
        }
        let healed = bench.now;
        // a request every 100 ms that takes 200 ms
        while bench.standing().state != BreakerState::Closed || bench.standing().share < 1.0 {
            if let Some(probe) = bench.admit() {
                probe.succeeded(bench.now + millis(200), millis(200));
            }
            bench.wait(millis(100));
        }
        assert!(bench.now - healed < seconds(45), "{:?}", bench.now - healed);
    }
}

#[test]
fn the_last_resort_is_one_call_a_second() {
    let mut bench = Bench::open(settings());
    let mut let_through = Vec::new();
    for _ in 0..50 {
        let_through.extend(bench.breaker.last_resort(bench.now, LEASE));
        bench.wait(millis(100));
    }
    assert_eq!(let_through.len(), 5);
    assert!(bench.admit().is_none(), "others still wait");
}

#[test]
fn a_last_resort_that_works_counts_towards_closing() {
    let bench = Bench::open(settings());
    bench.breaker.last_resort(bench.now, LEASE).unwrap().succeeded(bench.now, FAST);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    bench.succeed();
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_last_resort_that_fails_or_is_lost_changes_nothing() {
    let mut bench = Bench::open(settings());
    let until = bench.standing().retry_at;
    for n in 0..25 {
        let call = bench.breaker.last_resort(bench.now, LEASE).unwrap();
        match n % 3 {
            0 => call.failed(bench.now, FAST),
            1 => call.ignored(),
            _ => std::mem::forget(call),
        }
        assert_eq!(bench.standing().retry_at, until);
        bench.wait(seconds(1));
    }
    bench.wait_until_half_open();
    bench.fail();
    assert!(bench.open_for() < seconds(65), "one failed return, not twenty");
}

#[test]
fn the_last_resort_is_an_ordinary_call_unless_it_is_open() {
    let bench = Bench::half_open(settings());
    let probe = bench.breaker.last_resort(bench.now, LEASE);
    assert!(probe.is_some() && bench.breaker.last_resort(bench.now, LEASE).is_none());
    let closed = Bench::new(settings());
    let two = [closed.breaker.last_resort(closed.now, LEASE), closed.breaker.last_resort(closed.now, LEASE)];
    assert_eq!(two.iter().flatten().count(), 2);
}
