use proptest::prelude::{prop_assert, proptest};

use super::*;

const STRATEGIES: [Strategy; 4] = [Strategy::Balanced, Strategy::Quality, Strategy::Speed, Strategy::Cost];

fn parts(p95_ms: u64, usd_per_million: f64, quality: f64) -> Parts {
    let price = NanoUsd((usd_per_million * 1e9) as i64);
    Parts::of(Some(Duration::from_millis(p95_ms)), 1_000, Some(0.999), Some(price), Some(quality), 4, 64)
}

#[test]
fn weights_add_up_to_one() {
    for strategy in STRATEGIES {
        let Weights { latency, success, price, quality, load } = Weights::of(strategy);
        assert!((latency + success + price + quality + load - 1.0).abs() < 1e-9, "{strategy:?}");
    }
}

#[test]
fn each_strategy_has_its_own_order_of_the_same_candidates() {
    let candidates = [
        ("large", parts(420, 0.13, 70.0)),
        ("small", parts(180, 0.02, 62.0)),
        ("near", parts(25, 0.18, 60.0)),
        ("free", parts(900, 0.0, 50.0)),
    ];
    let order = |strategy| {
        let weights = Weights::of(strategy);
        let mut order = candidates;
        order.sort_by(|(_, a), (_, b)| score(b, &weights).total_cmp(&score(a, &weights)));
        order.map(|(name, _)| name)
    };
    let orders = [
        // the highest quality first, and the lowest last
        (Strategy::Quality, ["large", "small", "near", "free"]),
        // by latency
        (Strategy::Speed, ["near", "small", "large", "free"]),
        // by price
        (Strategy::Cost, ["free", "small", "large", "near"]),
        // good at everything before best at one thing
        (Strategy::Balanced, ["small", "near", "free", "large"]),
    ];
    for (strategy, expected) in orders {
        assert_eq!(order(strategy), expected, "{strategy:?}");
    }
}

#[test]
fn what_is_not_known_is_neutral_and_what_is_free_is_best() {
    let unknown = Parts::of(None, 0, None, Some(NanoUsd(0)), None, 0, 8);
    assert_eq!(unknown, Parts { latency: 0.5, success: 1.0, price: 1.0, quality: 0.5, load: 1.0 });
}

#[test]
fn one_early_failure_is_not_the_whole_record() {
    let success = |calls, rate| Parts::of(None, calls, Some(rate), None, None, 0, 1).success;
    assert!(success(1, 0.0) > 0.9);
    assert!(success(1_000, 0.5) < 0.51);
    assert!(success(20, 0.5) < success(20, 0.9));
}

#[test]
fn nonsense_stays_between_worst_and_best() {
    let nonsense =
        Parts::of(Some(Duration::MAX), u64::MAX, Some(f64::NAN), Some(NanoUsd(i64::MIN)), Some(900.0), 9, 0);
    let Parts { latency, success, price, quality, load } = nonsense;
    assert_eq!([latency, price, quality, load].map(f64::to_bits), [0.0, 1.0, 1.0, 0.0].map(f64::to_bits));
    assert!((0.0..=1.0).contains(&success));
}

proptest! {
    #[test]
    fn better_in_any_part_is_never_worse(
        ms in 1_u64..60_000, faster in 0_u64..1_000, calls in 0_u64..100_000, rate in 0.0..1.0_f64, better in 0.0..1.0_f64,
        nanos in 0_i64..2_000_000_000, cheaper in 0_i64..1_000_000_000, quality in 0.0..100.0_f64, busy in 0_u32..100,
    ) {
        let of = |ms, rate, nanos, quality, busy| {
            Parts::of(Some(Duration::from_millis(ms)), calls, Some(rate), Some(NanoUsd(nanos)), Some(quality), busy, 64)
        };
        let worse = of(ms, rate, nanos, quality, busy);
        let better = [
            of(ms.saturating_sub(faster), rate, nanos, quality, busy),
            of(ms, rate.max(better), nanos, quality, busy),
            of(ms, rate, (nanos - cheaper).max(0), quality, busy),
            of(ms, rate, nanos, quality.max(better * 100.0), busy),
            of(ms, rate, nanos, quality, busy / 2),
        ];
        for strategy in STRATEGIES {
            let weights = Weights::of(strategy);
            let least = score(&worse, &weights);
            prop_assert!((0.0..=1.0 + 1e-9).contains(&least));
            for better in &better {
                prop_assert!(score(better, &weights) >= least - 1e-12, "{better:?} under {strategy:?}");
            }
        }
    }
}
