//! A circuit breaker: calls stop going to a service that fails, and come back carefully.
//!
//! | state | leaves it when |
//! |---|---|
//! | closed | calls keep failing (see [`BreakerSettings`]): open |
//! | open | `open`, doubled for each failed return and at most tenfold, is over: half-open |
//! | half-open | `success_threshold` probes worked: closed, with a ramp; one failed or never came back: open, for longer |
//! | forced open, forced closed | an administrator says so |
//!
//! A [`Permit`] is a lease. One that is neither reported nor dropped in time counts as a failed probe, so nothing can leave a
//! breaker half-open for ever. Each permit knows the generation that it was given in, and every change of state begins a new one:
//! what arrives late says nothing about the present and is dropped. Time only moves a breaker when someone looks, and always to
//! the same effect, however often they look.

mod machine;
mod permit;
mod run;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use machine::Machine;
pub use permit::Permit;
pub use settings::BreakerSettings;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// None do, for a time.
    Open,
    /// A few do, to see whether the service is back.
    HalfOpen,
    /// None do, until an administrator says otherwise.
    ForcedOpen,
    /// All do, until an administrator says otherwise.
    ForcedClosed,
}

impl BreakerState {
    /// The name in answers, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// What a choice between services wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The state.
    pub state: BreakerState,
    /// Closed, and failing: calls that failed in a row and those still out would together reach the threshold. Others are to be
    /// preferred. Once the first burst of failures is over one call at a time is let off the suspicion, and settles the matter.
    pub suspect: bool,
    /// Part of its usual calls that it should get, in (0, 1]; below 1 only in the ramp after closing.
    pub share: f64,
    /// When open: the soonest time for a probe.
    pub retry_at: Option<Instant>,
}

/// What an operator wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerReport {
    /// The state.
    pub state: BreakerState,
    /// Failures in a row, to the last result that was counted.
    pub failures: u32,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls of those; 0 without calls.
    pub failure_rate: f64,
    /// When open: the soonest time for a probe.
    pub retry_at: Option<Instant>,
    /// Times that it has opened since it was made, by itself.
    pub opened: u64,
}

/// One service's breaker. All its work is done under one short lock, which allocates nothing.
#[derive(Debug)]
pub struct Breaker(Mutex<Machine>);

impl Breaker {
    /// A closed breaker. The seed spreads the open times of breakers that trip together.
    #[must_use]
    pub fn new(settings: BreakerSettings, seed: u64) -> Self {
        Self(Mutex::new(Machine::new(settings, seed)))
    }

    /// Goes by other settings from now on. The state stays, and so does what was seen, unless the window is another one.
    pub fn configure(&self, settings: BreakerSettings) {
        self.lock().configure(settings);
    }

    /// Leave for one call that takes `lease` at most (plus a second for the result to arrive), or none. During a ramp this still
    /// admits everything: holding to the [`share`](Standing::share) takes someone who knows the alternatives.
    pub fn admit(self: &Arc<Self>, now: Instant, lease: Duration) -> Option<Permit> {
        let ticket = self.lock().admit(now, lease)?;
        Some(Permit::new(Arc::clone(self), ticket))
    }

    /// As [`admit`](Self::admit), and when open, one call a second: for when there is nobody else to ask. A success proves the
    /// service back and counts as the first of the half-open ones; a failure changes nothing, or a steady trickle of last resorts
    /// would keep the breaker open for ever.
    pub fn last_resort(self: &Arc<Self>, now: Instant, lease: Duration) -> Option<Permit> {
        let ticket = self.lock().last_resort(now, lease)?;
        Some(Permit::new(Arc::clone(self), ticket))
    }

    /// For ranking; takes nothing.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        self.lock().standing(now)
    }

    /// For people.
    #[must_use]
    pub fn report(&self, now: Instant) -> BreakerReport {
        self.lock().report(now)
    }

    /// Closed as if new: everything is forgotten, and results of calls that are out will be ignored.
    pub fn reset(&self, now: Instant) {
        self.lock().reset(now);
    }

    /// Lets nothing through until [`reset`](Self::reset) or [`force_closed`](Self::force_closed), and ignores results.
    pub fn force_open(&self, now: Instant) {
        self.lock().force_open(now);
    }

    /// Lets everything through until [`reset`](Self::reset) or [`force_open`](Self::force_open); results only show in reports.
    pub fn force_closed(&self, now: Instant) {
        self.lock().force_closed(now);
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
