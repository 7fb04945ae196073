use proptest::prelude::*;

use super::*;

fn rates() -> impl Strategy<Value = Rate> {
    (1_u64..5_000, 0_u64..5_000).prop_map(|(per_minute, burst)| Rate::with_burst(per_minute, burst))
}

/// Gaps in nanoseconds of every size, so that level and limit meet exactly now and then.
fn gaps() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1_u64..2_000_000, 1_000_000_u64..2_000_000_000, 1_u64..70_000_000_000]
}

proptest! {
    #[test]
    fn no_minute_sees_more_than_the_limit(
        rate in rates(), asks in proptest::collection::vec((gaps(), 1_u64..=5_000), 1..300), patient in any::<bool>(),
    ) {
        let gcra = Gcra::new(rate);
        let mut now = Instant::now();
        let mut granted: Vec<(Instant, u64)> = Vec::new();
        for (gap, n) in asks {
            now += Duration::from_nanos(gap);
            let n = n.min(rate.burst);
            if let Err(wait) = gcra.take(now, n) {
                if !patient {
                    continue;
                }
                now += wait;
                prop_assert_eq!(gcra.take(now, n), Ok(()), "after the wait that it named");
            }
            granted.push((now, n));
            let minute = granted.iter().rev().take_while(|(at, _)| now - *at < Duration::from_secs(60));
            let in_it: u64 = minute.map(|(_, n)| n).sum();
            prop_assert!(in_it <= rate.per_minute, "{in_it} in a minute of {rate:?}");
        }
    }

    #[test]
    fn whoever_takes_all_there_is_gets_the_burst_and_what_refilled(
        rate in rates(), gaps in proptest::collection::vec(0_u64..2_000_000_000, 1..200),
    ) {
        let (gcra, began) = (Gcra::new(rate), Instant::now());
        let mut now = began;
        let mut granted = 0_u128;
        while gcra.take(now, 1).is_ok() {
            granted += 1;
        }
        for gap in gaps {
            // the bucket must not fill in between: the closed form knows nothing of what spills
            let fills = MINUTE * u128::from(rate.burst - 1) / rate.sustained();
            now += Duration::from_nanos(gap.min(u64::try_from(fills).unwrap()));
            while gcra.take(now, 1).is_ok() {
                granted += 1;
            }
            let refilled = (now - began).as_nanos() * rate.sustained() / MINUTE;
            prop_assert_eq!(granted, u128::from(rate.burst) + refilled);
        }
    }

    #[test]
    fn it_agrees_with_a_bucket_of_tokens(
        rate in rates(), asks in proptest::collection::vec((gaps(), 1_u64..=6_000, 0_u64..3), 1..200),
    ) {
        let gcra = Gcra::new(rate);
        let mut now = Instant::now();
        let sustained = i128::try_from(rate.sustained()).unwrap();
        let minute = i128::try_from(MINUTE).unwrap();
        let full = i128::from(rate.burst) * minute;
        let mut tokens = full;
        for (gap, n, back) in asks {
            now += Duration::from_nanos(gap);
            tokens = full.min(tokens + i128::from(gap) * sustained);
            let wanted = i128::from(n) * minute;
            let there = tokens >= wanted.min(full);
            let wait = gcra.wait_for(now, n);
            prop_assert_eq!(wait.is_zero(), there);
            prop_assert_eq!(gcra.take(now, n), if there { Ok(()) } else { Err(wait) });
            if there {
                tokens -= wanted;
            }
            gcra.give_back(back);
            tokens = full.min(tokens + i128::from(back) * minute);
        }
    }
}

#[test]
fn more_than_the_burst_passes_a_full_bucket_and_is_made_up_for() {
    let (gcra, now) = (Gcra::new(Rate::with_burst(70, 10)), Instant::now());
    assert_eq!(gcra.take(now, 30), Ok(()));
    // 60 a minute refill: 20 owed and 1 to take
    assert_eq!(gcra.take(now, 1), Err(Duration::from_secs(21)));
    assert_eq!(gcra.take(now + Duration::from_secs(1), 30), Err(Duration::from_secs(29)));
    assert_eq!(gcra.take(now + Duration::from_secs(30), 30), Ok(()));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let (gcra, now) = (Gcra::new(Rate::per_minute(100)), Instant::now());
    assert_eq!(gcra.take(now, 10), Ok(()));
    assert!(gcra.take(now, 4).is_err());
    gcra.give_back(4);
    assert_eq!(gcra.take(now, 4), Ok(()));
    gcra.give_back(1_000);
    assert_eq!(gcra.take(now, 10), Ok(()), "no more than the burst is ever there");
    assert!(gcra.take(now, 1).is_err());
}

#[test]
fn shares_of_all_replicas_add_up_to_no_more_than_the_rate() {
    for (per_minute, replicas) in [(60, 2), (61, 2), (1_000, 7), (5, 5)] {
        let share = Rate::per_minute(per_minute).share(replicas);
        assert!(share.per_minute * u64::from(replicas) <= per_minute, "{share:?}");
        assert!(share.per_minute >= 1 && share.burst >= 1);
    }
    assert_eq!(Rate::per_minute(60).share(0), Rate::per_minute(60));
}

#[test]
fn one_a_minute_is_one_a_minute() {
    let (gcra, now) = (Gcra::new(Rate::per_minute(1)), Instant::now());
    assert_eq!(gcra.take(now, 1), Ok(()));
    assert_eq!(gcra.take(now, 1), Err(Duration::from_secs(60)));
    assert_eq!(gcra.take(now + Duration::from_secs(60), 1), Ok(()));
}

#[test]
fn a_caller_whose_clock_is_behind_refills_nothing() {
    let (gcra, now) = (Gcra::new(Rate::per_minute(60)), Instant::now());
    let later = now + Duration::from_secs(30);
    assert_eq!(gcra.take(later, 6), Ok(()));
    assert!(gcra.take(now, 1).is_err());
    assert!(gcra.take(later, 1).is_err(), "nor does going forward again");
}
