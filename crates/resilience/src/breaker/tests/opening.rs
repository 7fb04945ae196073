//! What opens a closed breaker, what does not, and for how long.

use super::*;

/// Whether a row of calls of one kind, `apart` from each other, opens it, and after how many.
fn calls_until_open(bench: &mut Bench, most: u32, apart: Duration, ok: bool, took: Duration) -> Option<u32> {
    (1..=most).find(|_| {
        let permit = bench.admit().unwrap();
        if ok {
            permit.succeeded(bench.now, took)
        } else {
            permit.failed(bench.now, took)
        }
        let open = bench.state() == BreakerState::Open;
        if !open {
            bench.wait(apart);
        }
        open
    })
}

#[test]
fn a_row_of_failures_opens_it_when_it_outlasts_a_burst() {
    let table = [
        // apart, calls until it opens
        (millis(1), 251),
        (millis(50), 6),
        (millis(62), 6),
        (millis(63), 5),
        (seconds(60), 5),
    ];
    for (apart, calls) in table {
        let opened = calls_until_open(&mut Bench::new(settings()), 1_000, apart, false, FAST);
        assert_eq!(opened, Some(calls), "{apart:?} apart");
    }
}

#[test]
fn one_success_breaks_the_row() {
    let mut bench = Bench::new(settings());
    (0..100).for_each(|_| bench.succeed());
    for _ in 0..6 {
        for _ in 0..4 {
            bench.fail();
            bench.wait(millis(100));
        }
        bench.succeed();
    }
    assert_eq!((bench.state(), bench.report().opened), (BreakerState::Closed, 0));
}

#[test]
fn a_busy_service_that_goes_down_is_noticed_at_once() {
    let mut bench = Bench::new(settings());
    for _ in 0..3_000 {
        bench.succeed();
        bench.wait(millis(10));
    }
    assert_eq!(calls_until_open(&mut bench, 1_000, millis(50), false, FAST), Some(6));
}

#[test]
fn where_failures_are_usual_it_takes_a_longer_row() {
    let mut bench = Bench::new(settings());
    for n in 0..3_000 {
        if n % 10 == 5 {
            bench.fail()
        } else {
            bench.succeed()
        }
        bench.wait(millis(10));
    }
    let opened = calls_until_open(&mut bench, 1_000, millis(50), false, FAST);
    assert_eq!(opened, Some(9), "ten to the minus nine is below the limit, ten to the minus eight is not");
}

#[test]
fn half_of_enough_calls_failing_opens_it() {
    let mut bench = Bench::new(settings());
    let opened_after = (1..100).find(|n| {
        if n % 2 == 0 {
            bench.fail()
        } else {
            bench.succeed()
        }
        bench.wait(millis(20));
        bench.state() == BreakerState::Open
    });
    assert_eq!(opened_after, Some(20));
}

#[test]
fn failures_that_the_window_has_forgotten_do_not_count() {
    let mut bench = Bench::new(settings());
    for n in 0..200 {
        if n % 2 == 0 {
            bench.fail()
        } else {
            bench.succeed()
        }
        bench.wait(seconds(2));
    }
    assert_eq!((bench.state(), bench.report().calls), (BreakerState::Closed, 14));
}

#[test]
fn a_window_shorter_than_the_calls_timeout_still_sees_every_failure() {
    let short = BreakerSettings { window: seconds(5), ..settings() };
    let mut bench = Bench::new(short);
    let hanging: Vec<Permit> = (0..6)
        .map(|_| {
            bench.wait(millis(300));
            bench.breaker.admit(bench.now, seconds(60)).unwrap()
        })
        .collect();
    // all began long before the window does
    bench.wait(seconds(60));
    for permit in hanging {
        permit.failed(bench.now, seconds(60));
        bench.wait(millis(300));
    }
    assert_eq!((bench.state(), bench.report().opened), (BreakerState::Open, 1));
}

#[test]
fn slow_calls_open_it_even_when_they_succeed() {
    let mut bench = Bench::new(settings());
    assert_eq!(calls_until_open(&mut bench, 100, millis(1), true, millis(4_990)), None);
    let opened = calls_until_open(&mut Bench::new(settings()), 100, millis(1), true, seconds(5));
    assert_eq!(opened, Some(20));
}

#[test]
fn a_service_that_becomes_slow_for_everyone_does_not_become_its_own_measure() {
    let mut bench = Bench::new(settings());
    (0..30).for_each(|_| bench.succeed());
    // 0.8 of all is reached when 120 of 150 are slow
    assert_eq!(calls_until_open(&mut bench, 1_000, millis(1), true, seconds(8)), Some(120));
}

#[test]
fn what_is_usual_for_a_slow_service_is_not_slow() {
    let mut bench = Bench::new(settings());
    assert_eq!(calls_until_open(&mut bench, 100, millis(1), true, seconds(4)), None);
    assert_eq!(calls_until_open(&mut bench, 1_000, millis(1), true, seconds(10)), None);
    assert_eq!(bench.report().calls, 1_100);
}

#[test]
fn ignored_calls_count_neither_way() {
    let bench = Bench::new(settings());
    (0..4).for_each(|_| bench.fail());
    (0..100).for_each(|_| bench.admit().unwrap().ignored());
    let report = bench.report();
    assert_eq!((report.calls, report.failures, report.failure_rate), (4, 4, 1.0));
}

#[test]
fn a_row_of_failures_makes_it_suspect_until_the_burst_is_over() {
    let mut bench = Bench::new(settings());
    for failures in 1..=5 {
        assert!(!bench.standing().suspect, "after {} failures", failures - 1);
        bench.fail();
    }
    assert!(bench.standing().suspect);
    bench.wait(millis(249));
    assert!(bench.standing().suspect);
    bench.wait(millis(1));
    assert!(!bench.standing().suspect, "one call may show");
    let trial = bench.admit().unwrap();
    assert!(bench.standing().suspect, "and no second one meanwhile");
    trial.failed(bench.now, FAST);
    assert_eq!((bench.state(), bench.standing().suspect), (BreakerState::Open, false));
}

#[test]
fn calls_still_out_count_towards_the_suspicion() {
    let bench = Bench::new(settings());
    let mut out: Vec<Permit> = (0..5).map(|_| bench.admit().unwrap()).collect();
    assert!(!bench.standing().suspect, "nothing has failed");
    out.pop().unwrap().failed(bench.now, FAST);
    assert!(bench.standing().suspect, "four out and one failed would be five");
    out.pop().unwrap().ignored();
    assert!(!bench.standing().suspect);
    drop(out);
}

#[test]
fn a_success_ends_the_suspicion() {
    let mut bench = Bench::new(settings());
    (0..64).for_each(|_| bench.fail());
    bench.wait(millis(250));
    bench.succeed();
    assert!(!bench.standing().suspect);
}

#[test]
fn a_trial_call_that_never_comes_back_is_not_waited_for() {
    let mut bench = Bench::new(settings());
    (0..5).for_each(|_| bench.fail());
    bench.wait(millis(250));
    std::mem::forget(bench.admit());
    bench.wait(LEASE + millis(999));
    assert!(bench.standing().suspect);
    bench.wait(millis(1));
    assert!(!bench.standing().suspect);
}

#[test]
fn each_failed_return_doubles_the_open_time_up_to_tenfold() {
    let mut bench = Bench::open(settings());
    for times in [1, 2, 4, 8, 10, 10, 10] {
        let opened = bench.now;
        let open_for = bench.open_for() + (bench.now - opened);
        let open = seconds(30 * times);
        let bounds = if times == 1 { open..=open.mul_f64(1.05) } else { open.mul_f64(0.95)..=open };
        // the first has been open for the 100 ms that the set-up waits
        let open_for = if times == 1 { open_for + millis(100) } else { open_for };
        assert!(bounds.contains(&open_for), "{open_for:?} for {times}");
        bench.wait_until_half_open();
        bench.fail();
    }
}

#[test]
fn a_failed_return_is_forgiven_for_every_minute_closed() {
    for (minutes, times) in [(0, 4), (1, 2), (2, 1), (60, 1)] {
        let mut bench = Bench::half_open(settings());
        bench.fail();
        bench.wait_until_half_open();
        bench.fail();
        bench.wait_until_half_open();
        (0..3).for_each(|_| bench.succeed());
        bench.wait(seconds(60 * minutes));
        for _ in 0..5 {
            bench.fail();
            bench.wait(millis(63));
        }
        let open = seconds(30 * times) - millis(63);
        assert!(
            (open.mul_f64(0.94)..=open.mul_f64(1.06)).contains(&bench.open_for()),
            "{minutes}: {:?}",
            bench.open_for()
        );
    }
}

#[test]
fn breakers_that_trip_together_do_not_return_together() {
    let open_times: std::collections::HashSet<Duration> = (0..50)
        .map(|seed| {
            let mut bench = Bench::new(settings());
            bench.breaker = Arc::new(Breaker::new(settings(), seed));
            for _ in 0..5 {
                bench.fail();
                bench.wait(millis(63));
            }
            bench.open_for()
        })
        .collect();
    assert_eq!(open_times.len(), 50);
}

#[test]
fn an_open_breaker_admits_nothing_until_its_time() {
    let mut bench = Bench::open(settings());
    let wait = bench.open_for();
    bench.wait(wait - Duration::from_nanos(1));
    assert!(bench.admit().is_none());
    bench.wait(Duration::from_nanos(1));
    assert!(bench.admit().is_some());
}

#[test]
fn settings_of_nothing_are_taken_as_one() {
    let none =
        BreakerSettings { failure_threshold: 0, success_threshold: 0, half_open_calls: 0, ..settings() };
    let mut bench = Bench::new(none);
    bench.fail();
    bench.wait(millis(250));
    bench.fail();
    bench.wait_until_half_open();
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn times_without_end_do_not_overflow() {
    let endless =
        BreakerSettings { open: Duration::MAX, ramp: Duration::MAX, window: Duration::MAX, ..settings() };
    let bench = Bench::open(endless);
    assert!(bench.breaker.last_resort(bench.now, Duration::MAX).is_some());
    assert!(bench.open_for() >= seconds(300 * 24 * 3600));
}
