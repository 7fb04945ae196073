//! The states of a breaker and what moves it between them. No lock, no sharing.

use std::time::{Duration, Instant};

use super::run::{BURST, Run};
use super::{BreakerReport, BreakerSettings, BreakerState, Standing};
use crate::window::{Call, Window};

/// Time that a result has to arrive once its call has run out of time.
const GRACE: Duration = Duration::from_secs(1);
/// Longer open times and leases are cut to this, which keeps arithmetic on times from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Failed returns that lengthen the open time: 2^4 is past its tenfold maximum.
const MOST_FAILED_RETURNS: u32 = 4;
const LONGEST_OPEN: u32 = 10;
/// One failed return is forgotten for each of these spent closed.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Most that is added to an open time: enough to part the replicas, and little enough that a service that was down for a minute,
/// through two open times and the ramp, has its full share again 45 s later.
const JITTER: f64 = 0.05;
const RAMP_FROM: f64 = 0.1;
const LAST_RESORT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Since when, and whether after having been open; nothing for a new breaker.
    Closed(Option<Instant>),
    Open {
        until: Instant,
        last_resort: Option<Instant>,
    },
    HalfOpen {
        successes: u32,
    },
    ForcedOpen,
    ForcedClosed,
}

/// What a permit remembers of the state that it was given in.
#[derive(Debug)]
pub(super) struct Ticket {
    generation: u64,
    /// Of the lease, for a probe.
    probe: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    probe: u64,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Machine {
    settings: BreakerSettings,
    phase: Phase,
    /// Raised by every change of state; results of an earlier one are dropped.
    generation: u64,
    window: Window,
    run: Option<Run>,
    /// First failure of those that the window holds, as far as it matters: when it held none, the next.
    failing_since: Option<Instant>,
    /// Calls out that were admitted while closed.
    out: u32,
    /// By when all of those must be back; later they count as lost, not as out.
    all_back: Option<Instant>,
    /// Probes out. Its capacity is set once, so admitting allocates nothing.
    leases: Vec<Lease>,
    last_probe: u64,
    failed_returns: u32,
    opened: u64,
    random: u64,
}

impl Machine {
    pub(super) fn new(settings: BreakerSettings, seed: u64) -> Self {
        let settings = settings.sane();
        Self {
            phase: Phase::Closed(None),
            generation: 0,
            window: Window::new(settings.window),
            run: None,
            failing_since: None,
            out: 0,
            all_back: None,
            leases: Vec::with_capacity(settings.half_open_calls as usize),
            last_probe: 0,
            failed_returns: 0,
            opened: 0,
            random: seed,
            settings,
        }
    }

    pub(super) fn configure(&mut self, settings: BreakerSettings) {
        let settings = settings.sane();
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window);
            self.failing_since = None;
        }
        let probes = settings.half_open_calls as usize;
        self.leases.reserve(probes.saturating_sub(self.leases.len()));
        self.settings = settings;
    }

    pub(super) fn admit(&mut self, now: Instant, lease: Duration) -> Option<Ticket> {
        self.advance(now);
        let until = after(now, lease.saturating_add(GRACE));
        match self.phase {
            Phase::Closed(_) | Phase::ForcedClosed => {
                self.out = self.out.saturating_add(1);
                self.all_back = self.all_back.max(Some(until));
                Some(Ticket { generation: self.generation, probe: None })
            }
            Phase::HalfOpen { .. } if self.leases.len() < self.settings.half_open_calls as usize => {
                self.last_probe = self.last_probe.wrapping_add(1);
                self.leases.push(Lease { probe: self.last_probe, until });
                Some(Ticket { generation: self.generation, probe: Some(self.last_probe) })
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } | Phase::ForcedOpen => None,
        }
    }

    pub(super) fn last_resort(&mut self, now: Instant, lease: Duration) -> Option<Ticket> {
        let admitted = self.admit(now, lease);
        let Phase::Open { last_resort, .. } = &mut self.phase else { return admitted };
        if last_resort.is_some_and(|last| now.saturating_duration_since(last) < LAST_RESORT_EVERY) {
            return None;
        }
        *last_resort = Some(now);
        Some(Ticket { generation: self.generation, probe: None })
    }

    pub(super) fn conclude(&mut self, ticket: &Ticket, now: Instant, took: Duration, ok: bool) {
        self.advance(now);
        if ticket.generation != self.generation {
            return;
        }
        self.release(ticket);
        match (self.phase, ok) {
            (Phase::Closed(_), _) => {
                if self.observe(now, took, ok) {
                    self.open(now);
                }
            }
            (Phase::ForcedClosed, _) => {
                self.observe(now, took, ok);
            }
            (Phase::HalfOpen { successes }, true) => self.half_open_success(now, successes),
            (Phase::HalfOpen { .. }, false) => self.reopen(now),
            // a last resort worked: the service is back before its time
            (Phase::Open { .. }, true) => {
                self.enter(Phase::HalfOpen { successes: 0 });
                self.half_open_success(now, 0);
            }
            (Phase::Open { .. }, false) | (Phase::ForcedOpen, _) => {}
        }
    }

    pub(super) fn is_current(&self, ticket: &Ticket) -> bool {
        ticket.generation == self.generation
    }

    /// Takes a permit back that has no verdict.
    pub(super) fn release(&mut self, ticket: &Ticket) {
        if ticket.generation != self.generation {
            return;
        }
        match ticket.probe {
            Some(probe) => self.leases.retain(|lease| lease.probe != probe),
            None => self.out = self.out.saturating_sub(1),
        }
    }

    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        self.advance(now);
        let out = if self.all_back.is_some_and(|all_back| now < all_back) { self.out } else { 0 };
        let threshold = self.settings.failure_threshold;
        let failing = self.run.is_some_and(|run| run.casts_suspicion(now, out, threshold));
        Standing {
            state: self.state(),
            suspect: failing && matches!(self.phase, Phase::Closed(_)),
            share: self.share(now),
            retry_at: self.retry_at(),
        }
    }

    pub(super) fn report(&mut self, now: Instant) -> BreakerReport {
        self.advance(now);
        let total = self.window.total(now);
        let (calls, failure_rate) = (total.calls, total.failure_rate());
        BreakerReport {
            state: self.state(),
            failures: self.run.map_or(0, |run| run.failures),
            calls,
            failure_rate,
            retry_at: self.retry_at(),
            opened: self.opened,
        }
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.advance(now);
        self.failed_returns = 0;
        self.enter(Phase::Closed(None));
    }

    pub(super) fn force_open(&mut self, now: Instant) {
        self.advance(now);
        self.enter(Phase::ForcedOpen);
    }

    pub(super) fn force_closed(&mut self, now: Instant) {
        self.advance(now);
        self.enter(Phase::ForcedClosed);
    }

    /// Does what time has done: ends open times, and fails probes whose lease is over, at the moment that it was.
    fn advance(&mut self, now: Instant) {
        loop {
            match self.phase {
                Phase::Open { until, .. } if now >= until => self.enter(Phase::HalfOpen { successes: 0 }),
                Phase::HalfOpen { .. } => {
                    match self.leases.iter().map(|lease| lease.until).min() {
                        Some(until) if now >= until => self.reopen(until),
                        _ => return,
                    };
                }
                _ => return,
            }
        }
    }

    /// Counts a result; whether it is one too many.
    fn observe(&mut self, now: Instant, took: Duration, ok: bool) -> bool {
        let before = self.window.total(now);
        // the percentile is only worth finding for a call that may be slow
        let slow = took >= self.settings.slow_call
            && before.latencies.percentile(0.95).is_none_or(|p95| took >= 3 * p95);
        if ok {
            self.run = None;
        } else {
            self.run = Some(Run::after_failure(self.run, now));
            if before.failures == 0 {
                self.failing_since = Some(now);
            }
        }
        self.window.record(now, Call { took, ok, slow });
        (slow && self.is_too_slow(now)) || (!ok && self.fails_too_often(now))
    }

    fn is_too_slow(&mut self, now: Instant) -> bool {
        let seen = self.window.total(now);
        seen.calls >= self.settings.minimum_calls && seen.slow_rate() >= self.settings.slow_call_rate
    }

    fn fails_too_often(&mut self, now: Instant) -> bool {
        let settings = self.settings;
        let seen = self.window.total(now);
        let in_a_row = self.run.is_some_and(|run| {
            run.failures >= settings.failure_threshold
                && run.outlasts_a_burst(now)
                && (seen.failure_rate() >= settings.minimum_failure_rate || run.is_no_accident(seen))
        });
        let spread = self.failing_since.is_some_and(|since| now.saturating_duration_since(since) >= BURST);
        let often = seen.calls >= settings.minimum_calls && seen.failure_rate() >= settings.failure_rate;
        in_a_row || (often && spread)
    }

    fn half_open_success(&mut self, now: Instant, successes: u32) {
        let successes = successes.saturating_add(1);
        if successes >= self.settings.success_threshold {
            self.enter(Phase::Closed(Some(now)));
        } else {
            self.phase = Phase::HalfOpen { successes };
        }
    }

    /// From closed.
    fn open(&mut self, now: Instant) {
        if let Phase::Closed(Some(since)) = self.phase {
            let forgiven = now.saturating_duration_since(since).as_secs() / FORGIVEN_AFTER.as_secs();
            self.failed_returns =
                self.failed_returns.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
        self.shut(now);
    }

    /// From half-open.
    fn reopen(&mut self, now: Instant) {
        self.failed_returns = (self.failed_returns + 1).min(MOST_FAILED_RETURNS);
        self.shut(now);
    }

    fn shut(&mut self, now: Instant) {
        let times = (1 << self.failed_returns).min(LONGEST_OPEN);
        let open = self.settings.open.saturating_mul(times).min(LONGEST);
        // the first time is a floor that operators set; later ones are ours, and being early costs one probe
        let jitter = open.mul_f64(JITTER * self.roll());
        let until = after(now, if self.failed_returns == 0 { open + jitter } else { open - jitter });
        self.opened += 1;
        self.enter(Phase::Open { until, last_resort: None });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.leases.clear();
        self.out = 0;
        self.all_back = None;
        // what happened before says nothing about a service that is back; while open it is still there to be reported
        if matches!(phase, Phase::Closed(_) | Phase::ForcedClosed) {
            self.window.clear();
            self.run = None;
            self.failing_since = None;
        }
    }

    fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::ForcedOpen => BreakerState::ForcedOpen,
            Phase::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    fn share(&self, now: Instant) -> f64 {
        let Phase::Closed(Some(since)) = self.phase else { return 1.0 };
        let since = now.saturating_duration_since(since);
        if since >= self.settings.ramp {
            return 1.0;
        }
        RAMP_FROM + (1.0 - RAMP_FROM) * since.div_duration_f64(self.settings.ramp)
    }

    fn retry_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// In [0, 1); `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
    fn roll(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(LONGEST)
}
