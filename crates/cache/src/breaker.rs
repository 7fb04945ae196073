//! Leaves Redis alone after failures in a row, so that nobody waits for it: a few words of memory, no lock, no allocation.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    rest: Duration,
    started: Instant,
    failures: AtomicU32,
    /// Microseconds since `started`; 0: closed.
    until: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(threshold: u32, rest: Duration, now: Instant) -> Self {
        Self {
            threshold: threshold.max(1),
            rest,
            started: now,
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
        }
    }

    /// Whether Redis may be asked now. After a rest one caller tries, the others go on resting: whether the one reports back or
    /// not, there is another trial a rest later.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let again = self.after_rest(now);
        self.micros(now) >= until
            && self.until.compare_exchange(until, again, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, now: Instant) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.threshold {
            self.until.store(self.after_rest(now), Ordering::Relaxed);
        }
    }

    fn after_rest(&self, now: Instant) -> u64 {
        self.micros(now + self.rest).max(1)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn opened(at: Instant) -> Breaker {
        let breaker = Breaker::new(3, REST, at);
        for _ in 0..3 {
            assert!(breaker.admit(at));
            breaker.failed(at);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let breaker = Breaker::new(3, REST, now);
        for _ in 0..10 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
        }
        assert!(breaker.admit(now));
        assert!(!opened(now).admit(now));
    }

    #[test]
    fn one_caller_tries_after_a_rest_and_its_success_closes() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(!breaker.admit(now + REST - Duration::from_millis(1)));
        assert!(breaker.admit(now + REST));
        assert!(!breaker.admit(now + REST));
        breaker.succeeded();
        assert!(breaker.admit(now + REST));
        breaker.failed(now + REST);
        assert!(breaker.admit(now + REST));
    }

    #[test]
    fn a_trial_that_never_reports_is_followed_by_another() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(breaker.admit(now + REST));
        assert!(breaker.admit(now + 2 * REST));
        breaker.failed(now + 2 * REST);
        assert!(!breaker.admit(now + 2 * REST));
    }
}
