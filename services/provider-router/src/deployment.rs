//! A deployment: one model at one provider entry, with what is known of it from its calls.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_resilience::{Breaker, BreakerState, CallStats, ConcurrencyLimit};

use crate::{account::Account, proof::Proof};

/// A way to get vectors of one model.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// `entry/model`.
    pub name: Arc<str>,
    pub account: Arc<Account>,
    /// Catalog id.
    pub model: Arc<str>,
    pub breaker: Arc<Breaker>,
    pub stats: Arc<CallStats>,
    pub concurrency: Arc<ConcurrencyLimit>,
    /// Whether its vectors are those of its space.
    pub proof: Arc<Proof>,
    /// Calls that were made, canaries included.
    pub calls: AtomicU64,
    /// Somebody has a vector of it.
    answered: AtomicBool,
    /// Number of the last order about its breaker; 0 before the first.
    order: AtomicI64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    throttled_until: Option<Instant>,
    resting_until: Option<Instant>,
    latency: Duration,
    error: Option<String>,
}

/// What people are shown of a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub state: BreakerState,
    /// In a row.
    pub failures: u32,
    /// Of the last successful call.
    pub latency: Duration,
    /// Of the last call, when it failed, or why the deployment is out.
    pub error: Option<String>,
    /// It gets no calls although its breaker would let them through.
    pub out: bool,
}

impl Report {
    /// `healthy`; `degraded` when its last calls failed; `unhealthy` until its breaker is closed again.
    pub fn status(&self) -> &'static str {
        match self.state {
            // half open too: an alert that waits for minutes of `unhealthy` would begin anew with every trial call
            BreakerState::Open | BreakerState::ForcedOpen | BreakerState::HalfOpen => "unhealthy",
            _ if self.out => "unhealthy",
            BreakerState::Closed | BreakerState::ForcedClosed if self.failures == 0 => "healthy",
            _ => "degraded",
        }
    }
}

impl Deployment {
    pub fn new(
        account: Arc<Account>,
        model: &str,
        breaker: Breaker,
        window: Duration,
        most_calls: u32,
    ) -> Self {
        Self {
            name: format!("{}/{model}", account.name).into(),
            model: model.into(),
            breaker: Arc::new(breaker),
            stats: Arc::new(CallStats::new(window)),
            concurrency: Arc::new(ConcurrencyLimit::new(most_calls)),
            proof: Arc::default(),
            calls: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            order: AtomicI64::new(0),
            last: Mutex::default(),
            account,
        }
    }

    /// The same deployment behind another account, with all that is known of it but what its last call said.
    pub fn at(&self, account: Arc<Account>) -> Self {
        Self {
            name: Arc::clone(&self.name),
            model: Arc::clone(&self.model),
            breaker: Arc::clone(&self.breaker),
            stats: Arc::clone(&self.stats),
            concurrency: Arc::clone(&self.concurrency),
            proof: Arc::clone(&self.proof),
            calls: AtomicU64::new(self.calls.load(Ordering::Relaxed)),
            answered: AtomicBool::new(self.ever_answered()),
            order: AtomicI64::new(self.order.load(Ordering::Relaxed)),
            last: Mutex::default(),
            account,
        }
    }

    /// Whether an order is another one than the last; it is the last from now on.
    pub fn is_new_order(&self, number: i64) -> bool {
        self.order.swap(number, Ordering::AcqRel) != number
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when it takes no more calls.
    pub fn throttled_until(&self, now: Instant) -> Option<Instant> {
        self.last().throttled_until.filter(|until| *until > now)
    }

    /// Until when it rests after an error.
    pub fn resting_until(&self, now: Instant) -> Option<Instant> {
        self.last().resting_until.filter(|until| *until > now)
    }

    /// It cannot serve until then, by its own word or by all appearances.
    pub fn rest(&self, until: Instant) {
        let mut last = self.last();
        last.resting_until = Some(last.resting_until.map_or(until, |known| known.max(until)));
    }

    /// It has had enough for now.
    pub fn throttle(&self, until: Instant) {
        let mut last = self.last();
        last.throttled_until = Some(last.throttled_until.map_or(until, |known| known.max(until)));
    }

    /// A call went well.
    pub fn succeeded(&self, took: Duration) {
        let mut last = self.last();
        (last.latency, last.error) = (took, None);
    }

    /// A call failed.
    pub fn failed(&self, error: &str) {
        self.last().error = Some(error.to_owned());
    }

    /// Closes its breakers and forgets what was held against it; what a canary found stays.
    pub fn reset(&self, now: Instant) {
        self.breaker.reset(now);
        self.account.host.reset(now);
        self.account.credential.reset();
        let mut last = self.last();
        *last = Last { latency: last.latency, ..Last::default() };
    }

    /// Whether a canary or probe keeps it from its space, or its credential rests, in words.
    pub fn out(&self, now: Instant) -> Option<&'static str> {
        self.proof.out().or_else(|| self.account.credential.out(now).map(|(_, why)| why))
    }

    /// What to show.
    pub fn report(&self, now: Instant) -> Report {
        let (breaker, host) = (self.breaker.report(now), self.account.host.report(now));
        // the host's state is the deployment's where it is the worse one
        let worse = breaker.state == BreakerState::Closed && host.state != BreakerState::Closed;
        let resting = self.resting_until(now).is_some();
        let (out, last) = (self.out(now), self.last());
        Report {
            state: if worse { host.state } else { breaker.state },
            failures: breaker.failures.max(host.failures),
            latency: last.latency,
            error: out.map(str::to_owned).or_else(|| last.error.clone()),
            out: out.is_some() || resting,
        }
    }

    /// Notes that somebody has a vector of it.
    pub fn has_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether anybody has ever had a vector of it, of this process.
    pub fn ever_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Notes that a call is made; whether it is the first.
    pub fn count_call(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_unhealthy_until_its_breaker_is_closed_again() {
        let status = |state, failures, out| {
            Report { state, failures, latency: Duration::ZERO, error: None, out }.status()
        };
        for state in [BreakerState::Open, BreakerState::HalfOpen, BreakerState::ForcedOpen] {
            assert_eq!(status(state, 0, false), "unhealthy");
        }
        assert_eq!(status(BreakerState::Closed, 0, false), "healthy");
        assert_eq!(status(BreakerState::Closed, 2, false), "degraded");
        assert_eq!(status(BreakerState::Closed, 0, true), "unhealthy");
    }
}
