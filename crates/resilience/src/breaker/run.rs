//! Failures in a row, and when they mean that a service is down rather than that it had a bad moment.

use std::time::{Duration, Instant};

use crate::window::Tally;

/// Failures closer together than this are one event.
pub(super) const BURST: Duration = Duration::from_millis(250);

/// A row of failures less likely than this is no accident. At 1,000 calls a second and one failure in ten, a row of five comes by
/// every two minutes; one as unlikely as this, once a day.
const ACCIDENT: f64 = 1e-8;

/// A row of at least one failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) failures: u32,
    /// When the first came.
    since: Instant,
}

impl Run {
    /// The row that a failure continues or starts.
    pub(super) fn after_failure(run: Option<Self>, now: Instant) -> Self {
        let run = run.unwrap_or(Self { failures: 0, since: now });
        Self { failures: run.failures.saturating_add(1), ..run }
    }

    /// Whether `now` is past the event that the row began with.
    pub(super) fn outlasts_a_burst(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= BURST
    }

    /// Whether a row this long would be an accident in a window that otherwise failed as `window` did. Without this, a service
    /// that goes down after a busy half minute would have to fail a fifth of that traffic before its rate told.
    pub(super) fn is_no_accident(&self, window: &Tally) -> bool {
        let calls = window.calls.saturating_sub(self.failures);
        let failures = window.failures.saturating_sub(self.failures);
        // Laplace's rule: without other calls, one in two
        let usual = (f64::from(failures) + 1.0) / (f64::from(calls) + 2.0);
        usual.powf(f64::from(self.failures)) < ACCIDENT
    }

    /// Whether others are to be preferred: the calls that are `out`, were they all to fail too, would reach `threshold`. When that
    /// is reached and the burst is over, one call at a time may show whether it was one.
    pub(super) fn casts_suspicion(&self, now: Instant, out: u32, threshold: u32) -> bool {
        let trial = u32::from(self.outlasts_a_burst(now));
        out >= threshold.saturating_sub(self.failures).max(trial)
    }
}
