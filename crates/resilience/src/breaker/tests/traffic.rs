//! Minutes of simulated traffic against the bars that a breaker has to meet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// SplitMix64, of the tests' own.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Two services, each with a breaker; requests go to one that is not suspect, by share.
struct Pair {
    breakers: [Arc<Breaker>; 2],
    /// Results to come: when, of which, and whether good.
    results: BinaryHeap<Reverse<(Duration, u64)>>,
    out: std::collections::HashMap<u64, (usize, Permit, bool)>,
    calls: [Vec<Duration>; 2],
    refused: u64,
    began: Instant,
    dice: Dice,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self {
            breakers: [seed, seed + 1].map(|seed| Arc::new(Breaker::new(settings(), seed))),
            results: BinaryHeap::new(),
            out: std::collections::HashMap::new(),
            calls: [Vec::new(), Vec::new()],
            refused: 0,
            began: Instant::now(),
            dice: Dice(11),
        }
    }

    /// Requests at `rps` from `from` to `to`, each taking `latency`; `fails` says of a service and a time whether it fails.
    fn run(
        &mut self,
        from: Duration,
        to: Duration,
        rps: u32,
        latency: Duration,
        fails: &dyn Fn(usize, Duration, f64) -> bool,
    ) {
        let gap = seconds(1) / rps;
        let mut at = from;
        let mut id = self.out.len() as u64 + from.as_nanos() as u64;
        while at < to {
            self.deliver(at);
            let now = self.began + at;
            let mut order = [0, 1];
            if self.dice.roll() < 0.5 {
                order.reverse();
            }
            let roll = self.dice.roll();
            let dispreferred = |index: &usize| {
                let standing = self.breakers[*index].standing(now);
                standing.suspect || standing.share < roll
            };
            order.sort_by_key(dispreferred);
            let admitted =
                order.into_iter().find_map(|index| Some((index, self.breakers[index].admit(now, LEASE)?)));
            match admitted {
                Some((index, permit)) => {
                    id += 1;
                    self.calls[index].push(at);
                    let fails = fails(index, at, self.dice.roll());
                    self.results.push(Reverse((at + latency, id)));
                    self.out.insert(id, (index, permit, !fails));
                }
                None => self.refused += 1,
            }
            at += gap;
        }
        self.deliver(to);
    }

    fn deliver(&mut self, until: Duration) {
        while let Some(Reverse((at, id))) =
            self.results.peek().copied().filter(|Reverse((at, _))| *at <= until)
        {
            self.results.pop();
            let (_, permit, ok) = self.out.remove(&id).unwrap();
            let now = self.began + at;
            if ok { permit.succeeded(now, FAST) } else { permit.failed(now, FAST) }
        }
    }

    fn opened(&self, at: Duration) -> [u64; 2] {
        [0, 1].map(|index| self.breakers[index].report(self.began + at).opened)
    }

    /// The most calls to a service in any half minute from `from` on.
    fn most_in_half_a_minute(&self, index: usize, from: Duration) -> usize {
        let calls: Vec<Duration> = self.calls[index].iter().copied().filter(|at| *at >= from).collect();
        let within = |first: &Duration| {
            calls.iter().filter(|at| **at >= *first && **at < *first + seconds(30)).count()
        };
        calls.iter().map(within).max().unwrap_or(0)
    }
}

#[test]
fn ten_percent_errors_at_1000_rps_for_ten_minutes_open_nothing() {
    let bench = Bench::new(settings());
    let mut dice = Dice(5);
    let mut longest = (0, 0);
    for n in 0..600_000_u64 {
        let now = bench.now + millis(n);
        let permit = bench.breaker.admit(now, LEASE).unwrap();
        let fails = dice.roll() < 0.1;
        longest = if fails { (longest.0 + 1, longest.1.max(longest.0 + 1)) } else { (0, longest.1) };
        if fails { permit.failed(now, FAST) } else { permit.succeeded(now, FAST) }
    }
    assert_eq!(bench.breaker.report(bench.now + seconds(600)).opened, 0);
    assert!(longest.1 >= 5, "the row that a plain counter trips on did come");
}

#[test]
fn ten_percent_errors_with_a_peer_that_takes_over_from_a_suspect_open_nothing() {
    let mut pair = Pair::new(1);
    pair.run(seconds(0), seconds(600), 1_000, millis(40), &|_, _, dice| dice < 0.1);
    assert_eq!((pair.opened(seconds(600)), pair.refused), ([0, 0], 0));
}

#[test]
fn a_blip_of_30_ms_with_64_calls_in_flight_opens_nothing() {
    // before the blip: nothing at all, a little traffic, much
    for calls_before in [0, 10, 3_000] {
        let mut bench = Bench::new(settings());
        for _ in 0..calls_before {
            bench.succeed();
            bench.wait(millis(10));
        }
        let out: Vec<Permit> = (0..64).map(|_| bench.admit().unwrap()).collect();
        for permit in out {
            permit.failed(bench.now, FAST);
            bench.wait(Duration::from_micros(470));
        }
        assert_eq!(bench.report().failures, 64);
        for _ in 0..6_000 {
            bench.succeed();
            bench.wait(millis(10));
        }
        assert_eq!(bench.report().opened, 0, "{calls_before} before");
    }
}

#[test]
fn a_service_hard_down_is_called_at_most_six_times_in_any_half_minute() {
    // new, or busy before; failing at once, or after a while
    for (healthy, latency) in [(0, 1), (0, 20), (60, 1), (60, 5), (60, 20)] {
        let mut pair = Pair::new(1);
        let down = seconds(healthy);
        pair.run(seconds(0), down + seconds(120), 200, millis(latency), &|index, at, _| {
            index == 0 && at >= down
        });
        let most = pair.most_in_half_a_minute(0, down);
        assert!((1..=6).contains(&most), "{most} calls after {healthy} s, {latency} ms each");
        assert_eq!(pair.refused, 0);
    }
}

#[test]
fn a_service_down_for_a_minute_has_half_the_traffic_45_seconds_after_it_heals() {
    for seed in 0..4 {
        let mut pair = Pair::new(seed);
        let down = seconds(60)..seconds(120);
        pair.run(seconds(0), seconds(180), 200, millis(5), &|index, at, _| index == 0 && down.contains(&at));
        let late = |index: usize| pair.calls[index].iter().filter(|at| **at >= seconds(165)).count() as f64;
        let share = late(0) / (late(0) + late(1));
        assert!((0.47..0.53).contains(&share), "{share}");
    }
}
