use super::*;

#[test]
fn another_threshold_holds_from_the_next_failure_on_and_what_was_seen_stays() {
    let mut bench = Bench::new(settings());
    for _ in 0..3 {
        bench.fail();
        bench.wait(millis(200));
    }
    bench.breaker.configure(BreakerSettings { failure_threshold: 4, ..settings() });
    assert_eq!((bench.state(), bench.report().failures), (BreakerState::Closed, 3));
    bench.fail();
    assert_eq!(bench.state(), BreakerState::Open);
}

#[test]
fn an_open_breaker_goes_on_with_the_time_that_it_had_and_closes_by_the_new_threshold() {
    let mut bench = Bench::open(settings());
    let open_for = bench.open_for();
    bench.breaker.configure(BreakerSettings { success_threshold: 1, open: seconds(1), ..settings() });
    assert_eq!(bench.open_for(), open_for);
    bench.wait_until_half_open();
    bench.succeed();
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn more_probes_at_a_time_are_let_through_at_once_and_fewer_when_those_are_back() {
    let bench = Bench::half_open(settings());
    let first = bench.admit().unwrap();
    assert!(bench.admit().is_none());
    bench.breaker.configure(BreakerSettings { half_open_calls: 3, success_threshold: 9, ..settings() });
    let (second, third) = (bench.admit().unwrap(), bench.admit().unwrap());
    assert!(bench.admit().is_none());
    bench.breaker.configure(BreakerSettings { success_threshold: 9, ..settings() });
    first.succeeded(bench.now, FAST);
    second.succeeded(bench.now, FAST);
    assert!(bench.admit().is_none(), "one is still out");
    third.succeeded(bench.now, FAST);
    assert!(bench.admit().is_some());
}

#[test]
fn another_window_begins_with_what_is_seen_from_then_on() {
    let bench = Bench::new(settings());
    for _ in 0..7 {
        bench.succeed();
    }
    bench.breaker.configure(BreakerSettings { failure_rate: 0.9, ..settings() });
    assert_eq!(bench.report().calls, 7);
    bench.breaker.configure(BreakerSettings { window: seconds(60), ..settings() });
    assert_eq!(bench.report().calls, 0);
    bench.succeed();
    assert_eq!(bench.report().calls, 1);
}

#[test]
fn settings_that_make_no_sense_are_made_sane_here_too() {
    let bench = Bench::new(settings());
    bench.breaker.configure(BreakerSettings { failure_threshold: 0, half_open_calls: 0, ..settings() });
    assert!(bench.admit().is_some());
}
