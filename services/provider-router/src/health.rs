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
    /// A trial call that has not ended; it stops counting when the lease is over, so that a lost one blocks nobody.
    trial_until: Option<Instant>,
    latency: Duration,
    error: Option<String>,
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

    /// Whether a call would be admitted now.
    pub fn is_callable(&self, now: Instant) -> bool {
        self.state_of(&self.lock(), now) != State::Open
    }

    /// Takes the right to make a call that ends within `lease`; `false`: leave the deployment alone.
    pub fn admit(&self, now: Instant, lease: Duration) -> bool {
        let mut inner = self.lock();
        match self.state_of(&inner, now) {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen if inner.trial_until.is_some_and(|until| now < until) => false,
            State::HalfOpen => {
                inner.trial_until = Some(now + lease);
                true
            }
        }
    }

    /// A call succeeded.
    pub fn succeeded(&self, latency: Duration) {
        let mut inner = self.lock();
        (inner.failures, inner.error, inner.latency, inner.trial_until) = (0, None, latency, None);
        if inner.opened.is_some() {
            inner.successes += 1;
            if inner.successes >= self.settings.success_threshold {
                (inner.opened, inner.successes) = (None, 0);
            }
        }
    }

    /// A call failed by the deployment's fault.
    pub fn failed(&self, error: &str, now: Instant) {
        let mut inner = self.lock();
        inner.failures = inner.failures.saturating_add(1);
        inner.error = Some(error.to_owned());
        (inner.trial_until, inner.successes) = (None, 0);
        if inner.opened.is_some() || inner.failures >= self.settings.failure_threshold {
            inner.opened = Some(now);
        }
    }

    /// A call ended without a verdict on the deployment.
    pub fn ignored(&self) {
        self.lock().trial_until = None;
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

#[cfg(test)]
mod tests {
    use embermesh_config::Span;

    use super::*;

    const LEASE: Duration = Duration::from_secs(5);

    fn health() -> (Health, Instant) {
        let settings =
            CircuitBreaker { failure_threshold: 2, success_threshold: 2, timeout: Span::seconds(30) };
        (Health::new(settings), Instant::now())
    }

    fn opened() -> (Health, Instant) {
        let (health, now) = health();
        health.failed("x", now);
        assert!(health.admit(now, LEASE));
        health.failed("x", now);
        assert!(!health.admit(now, LEASE));
        (health, now + Duration::from_secs(30))
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let (health, now) = health();
        health.failed("x", now);
        health.succeeded(LEASE);
        health.failed("x", now);
        assert_eq!(health.report(now).state, State::Closed);
    }

    #[test]
    fn half_open_admits_one_call_at_a_time_and_closes_after_enough_successes() {
        let (health, later) = opened();
        assert!(health.admit(later, LEASE) && !health.admit(later, LEASE));
        health.succeeded(LEASE);
        assert_eq!(health.report(later).state, State::HalfOpen);
        assert!(health.admit(later, LEASE));
        health.succeeded(LEASE);
        assert_eq!(health.report(later).state, State::Closed);
    }

    #[test]
    fn half_open_permit_expires_and_an_ignored_outcome_gives_it_back() {
        let (health, later) = opened();
        assert!(health.admit(later, LEASE));
        assert!(health.admit(later + LEASE, LEASE), "a lost trial blocks nobody for ever");
        health.ignored();
        assert!(health.admit(later, LEASE));
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let (health, later) = opened();
        assert!(health.admit(later, LEASE));
        health.failed("x", later);
        assert_eq!(health.report(later).state, State::Open);
    }
}
