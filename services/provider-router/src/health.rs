//! Whether a deployment should be called now: a circuit breaker that opens after failures in a row, and lets one call at a time
//! through once it has been left alone for a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use embermesh_config::CircuitBreaker;

/// What a breaker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Calls go through.
    Closed,
    /// No call goes through.
    Open,
    /// One call at a time goes through.
    HalfOpen,
}

impl State {
    /// The name in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The health of one deployment.
#[derive(Debug)]
pub(crate) struct Health {
    settings: CircuitBreaker,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    failures: u32,
    successes: u32,
    opened: Option<Instant>,
    /// Grows when the breaker opens or closes; what was sent before says nothing about the time after.
    generation: u64,
    /// The one call of the half-open state is under way.
    on_trial: bool,
    latency: Duration,
    error: Option<String>,
}

/// The right to make one call. Dropped without a verdict, it is given back.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    health: &'a Health,
    generation: u64,
    judged: bool,
}

/// What [`Health`] tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub state: State,
    pub failures: u32,
    pub latency: Duration,
    pub error: Option<String>,
}

impl Health {
    pub fn new(settings: CircuitBreaker) -> Self {
        Self { settings, inner: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call might be admitted now.
    pub fn is_callable(&self, now: Instant) -> bool {
        self.state_of(&self.lock(), now) != State::Open
    }

    /// Takes the right to make a call; `None`: leave the deployment alone.
    pub fn admit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut inner = self.lock();
        match self.state_of(&inner, now) {
            State::Closed => {}
            State::HalfOpen if !inner.on_trial => inner.on_trial = true,
            State::Open | State::HalfOpen => return None,
        }
        Some(Permit { health: self, generation: inner.generation, judged: false })
    }

    /// What to show.
    pub fn report(&self, now: Instant) -> Report {
        let inner = self.lock();
        Report {
            state: self.state_of(&inner, now),
            failures: inner.failures,
            latency: inner.latency,
            error: inner.error.clone(),
        }
    }

    fn state_of(&self, inner: &Inner, now: Instant) -> State {
        match inner.opened {
            None => State::Closed,
            Some(at) if now.saturating_duration_since(at) < self.settings.timeout.0 => State::Open,
            Some(_) => State::HalfOpen,
        }
    }
}

impl Permit<'_> {
    /// The call succeeded.
    pub fn succeeded(mut self, latency: Duration) {
        let settings = self.health.settings;
        self.judge(|inner| {
            (inner.failures, inner.error, inner.latency, inner.on_trial) = (0, None, latency, false);
            if inner.opened.is_some() {
                inner.successes += 1;
                if inner.successes >= settings.success_threshold {
                    (inner.opened, inner.successes) = (None, 0);
                    inner.generation += 1;
                }
            }
        });
    }

    /// The call failed by the deployment's fault.
    pub fn failed(mut self, error: &str, now: Instant) {
        let settings = self.health.settings;
        self.judge(|inner| {
            inner.failures = inner.failures.saturating_add(1);
            inner.error = Some(error.to_owned());
            (inner.on_trial, inner.successes) = (false, 0);
            if inner.opened.is_some() || inner.failures >= settings.failure_threshold {
                inner.opened = Some(now);
                inner.generation += 1;
            }
        });
    }

    fn judge(&mut self, verdict: impl FnOnce(&mut Inner)) {
        self.judged = true;
        let mut inner = self.health.lock();
        if inner.generation == self.generation {
            verdict(&mut inner);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.judged {
            self.judge(|inner| inner.on_trial = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_config::Span;

    use super::*;

    const LATENCY: Duration = Duration::from_millis(5);

    fn health() -> (Health, Instant) {
        let settings =
            CircuitBreaker { failure_threshold: 2, success_threshold: 2, timeout: Span::seconds(30) };
        (Health::new(settings), Instant::now())
    }

    fn fail(health: &Health, now: Instant) {
        health.admit(now).unwrap().failed("x", now);
    }

    fn succeed(health: &Health, now: Instant) {
        health.admit(now).unwrap().succeeded(LATENCY);
    }

    /// A breaker that has opened, and the time at which it is half open.
    fn opened() -> (Health, Instant) {
        let (health, now) = health();
        fail(&health, now);
        fail(&health, now);
        assert!(health.admit(now).is_none());
        (health, now + Duration::from_secs(30))
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let (health, now) = health();
        fail(&health, now);
        succeed(&health, now);
        fail(&health, now);
        assert_eq!(health.report(now).state, State::Closed);
    }

    #[test]
    fn half_open_admits_one_call_at_a_time_and_closes_after_enough_successes() {
        let (health, later) = opened();
        let trial = health.admit(later).unwrap();
        assert!(health.admit(later).is_none());
        trial.succeeded(LATENCY);
        assert_eq!(health.report(later).state, State::HalfOpen);
        succeed(&health, later);
        assert_eq!(health.report(later).state, State::Closed);
    }

    #[test]
    fn a_permit_that_is_dropped_without_a_verdict_is_given_back() {
        let (health, later) = opened();
        drop(health.admit(later).unwrap());
        assert!(health.admit(later).is_some());
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let (health, later) = opened();
        fail(&health, later);
        assert_eq!(health.report(later).state, State::Open);
    }

    #[test]
    fn a_result_sent_before_it_opened_moves_nothing() {
        let (health, now) = health();
        let early: Vec<Permit<'_>> = (0..6).map(|_| health.admit(now).unwrap()).collect();
        let mut early = early.into_iter();
        for _ in 0..2 {
            early.next().unwrap().failed("x", now);
        }
        let later = now + Duration::from_secs(29);
        for permit in early.by_ref().take(3) {
            permit.succeeded(LATENCY);
        }
        assert_eq!(health.report(later).state, State::Open, "late successes do not close it");
        early.next().unwrap().failed("x", later);
        let due = now + Duration::from_secs(30);
        assert_eq!(health.report(due).state, State::HalfOpen, "a late failure does not keep it open");
    }
}
