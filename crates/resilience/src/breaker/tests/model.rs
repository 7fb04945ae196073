//! The breaker against a model of it that keeps everything and optimises nothing: 120,000 steps.

use proptest::prelude::*;

use super::BreakerState::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open};
use super::*;

/// A reference breaker, in milliseconds since the beginning. How much jitter was rolled it is told.
struct Model {
    half_open_calls: usize,
    state: BreakerState,
    era: u32,
    seen: Vec<Seen>,
    /// When each failure of the row came.
    row: Vec<u64>,
    failing_since: u64,
    opened_at: u64,
    until: Option<u64>,
    closed_at: Option<u64>,
    successes: u32,
    n: u32,
    last_resort: Option<u64>,
    out: Vec<Out>,
    all_back: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    at: u64,
    ok: bool,
    slow: bool,
    took: u64,
}

#[derive(Clone, Copy, PartialEq)]
struct Out {
    era: u32,
    id: u64,
    until: u64,
}

impl Model {
    fn enter(&mut self, state: BreakerState, now: u64) {
        (self.state, self.era, self.successes, self.last_resort) = (state, self.era + 1, 0, None);
        (self.closed_at, self.opened_at, self.until, self.all_back) = (None, now, None, 0);
        if matches!(state, Closed | ForcedClosed) {
            (self.seen, self.row) = (Vec::new(), Vec::new());
        }
    }

    fn close(&mut self, now: u64) {
        self.enter(Closed, now);
        self.closed_at = Some(now);
    }

    fn reopen(&mut self, now: u64) {
        self.n = (self.n + 1).min(4);
        self.enter(Open, now);
    }

    fn of_this_era(&self) -> impl Iterator<Item = &Out> {
        self.out.iter().filter(|out| out.era == self.era)
    }

    fn lease_end(&self) -> Option<u64> {
        self.of_this_era().map(|out| out.until).min().filter(|_| self.state == HalfOpen)
    }

    fn pass(&mut self, now: u64) {
        if self.state == Open && self.until.is_some_and(|until| until <= now) {
            self.enter(HalfOpen, now);
        }
        if let Some(end) = self.lease_end().filter(|end| *end <= now) {
            self.reopen(end);
        }
    }

    fn admit(&mut self, id: u64, now: u64, lease: u64, desperate: bool) -> Option<Out> {
        let yes = match self.state {
            Closed | ForcedClosed => true,
            HalfOpen => self.of_this_era().count() < self.half_open_calls,
            Open => desperate && self.last_resort.is_none_or(|last| now >= last + 1_000),
            ForcedOpen => false,
        };
        if !yes {
            return None;
        }
        self.last_resort = Some(now);
        let out = Out { era: self.era, id, until: now + lease + 1_000 };
        self.all_back = self.all_back.max(out.until);
        self.out.push(out);
        Some(out)
    }

    fn result(&mut self, out: Out, now: u64, took: u64, ok: bool) {
        self.out.retain(|other| *other != out);
        match self.state {
            _ if out.era != self.era => {}
            Closed | ForcedClosed => self.count(now, took, ok),
            HalfOpen if !ok => self.reopen(now),
            Open | HalfOpen if ok => {
                if self.state == Open {
                    self.enter(HalfOpen, now);
                }
                self.successes += 1;
                if self.successes == 3 {
                    self.close(now);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, now: u64, took: u64, ok: bool) {
        self.forget(now);
        let slow = took >= 5_000 && took >= 3 * self.p95();
        let failed = self.seen.iter().filter(|call| !call.ok).count() + usize::from(!ok);
        if ok {
            self.row.clear();
        } else {
            self.row.push(now);
            self.failing_since = if failed == 1 { now } else { self.failing_since };
        }
        self.seen.push(Seen { at: now, ok, slow, took });
        let (calls, row) = (self.seen.len(), self.row.len());
        let part = |of: usize| of as f64 / calls as f64;
        let usual = (failed.saturating_sub(row) + 1) as f64 / (calls.saturating_sub(row) + 2) as f64;
        let no_accident = (usual.ln() * row as f64) < 1e-8_f64.ln();
        let in_a_row = row >= 5 && now >= self.row[0] + 250 && (part(failed) >= 0.2 || no_accident);
        let often = calls >= 20 && part(failed) >= 0.5 && now >= self.failing_since + 250;
        let slowly = calls >= 20 && part(self.seen.iter().filter(|call| call.slow).count()) >= 0.8;
        if self.state == Closed && ((!ok && (in_a_row || often)) || (slow && slowly)) {
            let minutes = self.closed_at.map_or(0, |at| (now - at) / 60_000);
            self.n = self.n.saturating_sub(minutes as u32);
            self.enter(Open, now);
        }
    }

    fn forget(&mut self, now: u64) {
        self.seen.retain(|call| call.at / 1_000 + 30 > now / 1_000);
    }

    fn p95(&self) -> u64 {
        let usual = self.seen.iter().filter(|call| call.ok && !call.slow);
        let mut usual: Vec<u64> = usual.map(|call| call.took).collect();
        usual.sort_unstable();
        usual.get((usual.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    }

    fn suspect(&self, now: u64) -> bool {
        let out = if now < self.all_back { self.of_this_era().count() } else { 0 };
        let trial = |first: &u64| usize::from(now >= first + 250);
        let room = self.row.first().map(|first| 5_usize.saturating_sub(self.row.len()).max(trial(first)));
        self.state == Closed && room.is_some_and(|room| out >= room)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Admit {
        lease: u64,
        desperate: bool,
    },
    /// Calls one after the other that all end the same way.
    Calls(u8, u64, bool),
    Result(usize, u64, bool),
    Ignore(usize),
    Forget(usize),
    ForceOpen,
    ForceClosed,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // latencies so far apart that bins of a histogram decide as exact numbers do
    let took = || prop_oneof![6 => Just(10_u64), 1 => Just(2_000), 1 => Just(7_000), 1 => Just(30_000)];
    let lease = prop::sample::select(vec![0_u64, 5_000, 60_000]);
    let waits = vec![1_u64, 30, 249, 250, 1_000, 5_000, 29_000, 31_500, 70_000];
    let forced = vec![Step::ForceOpen, Step::ForceClosed, Step::Reset, Step::Reset];
    let step = prop_oneof![
        80 => prop::sample::select(waits).prop_map(Step::Wait),
        80 => (lease, prop::bool::weighted(0.2)).prop_map(|(lease, desperate)| Step::Admit { lease, desperate }),
        60 => (1_u8..30, took(), any::<bool>()).prop_map(|(n, took, ok)| Step::Calls(n, took, ok)),
        80 => (any::<usize>(), took(), prop::bool::weighted(0.6)).prop_map(|(n, took, ok)| Step::Result(n, took, ok)),
        20 => any::<usize>().prop_map(Step::Ignore),
        10 => any::<usize>().prop_map(Step::Forget),
        4 => prop::sample::select(forced),
    ];
    prop::collection::vec(step, 300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_breaker_does_what_the_model_does(steps in steps(), half_open_calls in 1_u32..4, seed in any::<u64>()) {
        let mut run = Both::new(half_open_calls, seed);
        for step in steps {
            run.step(&step);
        }
    }
}

/// A breaker and its model, told the same. `lazy` is a second breaker that is told it too, and looked at less: that time passes
/// in fewer steps must change nothing.
struct Both {
    breaker: Arc<Breaker>,
    lazy: Arc<Breaker>,
    model: Model,
    began: Instant,
    now: u64,
    permits: Vec<(Permit, Permit, Out)>,
    admitted: u64,
}

impl Both {
    fn new(half_open_calls: u32, seed: u64) -> Self {
        let began = Instant::now();
        let [breaker, lazy] = [seed, seed].map(|seed| {
            let breaker = Arc::new(Breaker::new(BreakerSettings { half_open_calls, ..settings() }, seed));
            // the slots of the window begin with the first look
            assert_eq!(breaker.report(began).calls, 0);
            breaker
        });
        let model = Model {
            half_open_calls: half_open_calls as usize,
            state: Closed,
            era: 0,
            seen: Vec::new(),
            row: Vec::new(),
            failing_since: 0,
            opened_at: 0,
            until: None,
            closed_at: None,
            successes: 0,
            n: 0,
            last_resort: None,
            out: Vec::new(),
            all_back: 0,
        };
        Self { breaker, lazy, model, began, now: 0, permits: Vec::new(), admitted: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Wait(wait) => self.wait(wait),
            Step::Admit { lease, desperate } => self.admit(lease, desperate),
            Step::Calls(calls, took, ok) => {
                for _ in 0..calls {
                    self.admit(0, false);
                    if self.permits.last().is_some_and(|permit| permit.2.id == self.admitted) {
                        self.result(self.permits.len() - 1, took, ok);
                    }
                }
            }
            Step::Result(index, took, ok) => {
                if !self.permits.is_empty() {
                    self.result(index % self.permits.len(), took, ok);
                }
            }
            Step::Ignore(index) => {
                if !self.permits.is_empty() {
                    let (eager, lazy, out) = self.permits.swap_remove(index % self.permits.len());
                    eager.ignored();
                    drop(lazy);
                    self.model.out.retain(|other| *other != out);
                }
            }
            Step::Forget(index) => {
                if !self.permits.is_empty() {
                    std::mem::forget(self.permits.swap_remove(index % self.permits.len()));
                }
            }
            Step::ForceOpen => self.force(Breaker::force_open, ForcedOpen),
            Step::ForceClosed => self.force(Breaker::force_closed, ForcedClosed),
            Step::Reset => {
                self.force(Breaker::reset, Closed);
                self.model.n = 0;
            }
        }
        self.compare();
        assert_eq!(self.lazy.report(self.at()), self.breaker.report(self.at()), "looked at less");
    }

    fn at(&self) -> Instant {
        self.began + millis(self.now)
    }

    fn wait(&mut self, wait: u64) {
        let until = self.now + wait;
        // stops where a lease ends, so that the jitter of the open time after it can be learnt
        while let Some(end) = self.model.lease_end().filter(|end| *end <= until) {
            self.now = end;
            self.compare();
        }
        self.now = until;
        self.compare();
    }

    fn admit(&mut self, lease: u64, desperate: bool) {
        self.admitted += 1;
        let admit = if desperate { Breaker::last_resort } else { Breaker::admit };
        let [eager, lazy] =
            [&self.breaker, &self.lazy].map(|breaker| admit(breaker, self.at(), millis(lease)));
        match (eager, lazy, self.model.admit(self.admitted, self.now, lease, desperate)) {
            (Some(eager), Some(lazy), Some(out)) => self.permits.push((eager, lazy, out)),
            (None, None, None) => {}
            (eager, lazy, out) => {
                panic!("admitted {}, {}, model {}", eager.is_some(), lazy.is_some(), out.is_some())
            }
        }
    }

    fn result(&mut self, index: usize, took: u64, ok: bool) {
        let (eager, lazy, out) = self.permits.swap_remove(index);
        for permit in [eager, lazy] {
            match ok {
                true => permit.succeeded(self.at(), millis(took)),
                false => permit.failed(self.at(), millis(took)),
            }
        }
        self.model.result(out, self.now, took, ok);
        self.compare();
    }

    fn force(&mut self, force: impl Fn(&Breaker, Instant), state: BreakerState) {
        force(&self.breaker, self.at());
        force(&self.lazy, self.at());
        self.model.enter(state, self.now);
    }

    fn compare(&mut self) {
        let (report, standing) = (self.breaker.report(self.at()), self.breaker.standing(self.at()));
        self.model.pass(self.now);
        if self.model.state == Open && self.model.until.is_none() {
            let until = (report.retry_at.unwrap() - self.began).as_micros().div_ceil(1_000) as u64;
            let open = [30_000, 60_000, 120_000, 240_000, 300_000][self.model.n as usize];
            let was_open = until - self.model.opened_at;
            let bounds = if self.model.n == 0 { open..=open + open / 20 } else { open - open / 20..=open };
            assert!(bounds.contains(&was_open), "open for {was_open}, not {open}");
            self.model.until = Some(until);
            self.model.pass(self.now);
        }
        self.model.forget(self.now);
        let failed = self.model.seen.iter().filter(|call| !call.ok).count();
        assert_eq!(report.state, self.model.state);
        assert_eq!(
            (report.failures, report.calls),
            (self.model.row.len() as u32, self.model.seen.len() as u32)
        );
        assert!((report.failure_rate - failed as f64 / self.model.seen.len().max(1) as f64).abs() < 1e-9);
        assert_eq!(standing.suspect, self.model.suspect(self.now));
        assert_eq!(standing.retry_at.is_some(), self.model.state == Open);
        let closed_for = self.model.closed_at.map_or(u64::MAX, |at| self.now - at);
        let share = (0.1 + 0.9 * closed_for as f64 / 10_000.0).min(1.0);
        assert!((standing.share - share).abs() < 1e-9, "{} for {share}", standing.share);
    }
}
