//! When a breaker opens, for how long, and how it comes back.

use std::time::Duration;

/// Settings of one breaker. Closed, it opens when any of these holds:
///
/// - `failure_threshold` calls failed in a row, over a quarter of a second or more (a blip that fails everything in flight at once is
///   one event, however much was in flight), and either `minimum_failure_rate` of the window failed or such a row would be a
///   one-in-a-hundred-million chance at the rate at which the rest of the window failed;
/// - `failure_rate` of at least `minimum_calls` in the window failed, over a quarter of a second or more;
/// - `slow_call_rate` of at least `minimum_calls` in the window were slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Failures in a row that may open it; 0 is taken as 1.
    pub failure_threshold: u32,
    /// Successful probes that close it; 0 is taken as 1.
    pub success_threshold: u32,
    /// How long it stays open the first time; up to a twentieth is added at random.
    pub open: Duration,
    /// How far back the rates look, in steps of a thirtieth of it or a second, whichever is longer.
    pub window: Duration,
    /// Fewer calls than this in the window say nothing about rates.
    pub minimum_calls: u32,
    /// Part of the calls, 0 to 1, whose failure opens it.
    pub failure_rate: f64,
    /// Part of the calls, 0 to 1, that must have failed for a row of failures to matter by itself.
    pub minimum_failure_rate: f64,
    /// Part of the calls, 0 to 1, whose slowness opens it.
    pub slow_call_rate: f64,
    /// A call is slow from this, or from three times the 95th percentile of the window's other successes, whichever is longer.
    /// Slow ones are not among those: else a service that slows down for everyone would soon be its own measure.
    pub slow_call: Duration,
    /// Probes at a time while half-open; 0 is taken as 1.
    pub half_open_calls: u32,
    /// How long after closing it takes to come back to its full share, from a tenth.
    pub ramp: Duration,
}

impl BreakerSettings {
    pub(crate) fn sane(mut self) -> Self {
        self.failure_threshold = self.failure_threshold.max(1);
        self.success_threshold = self.success_threshold.max(1);
        // more at a time would not be a probe, and the leases are held in memory
        self.half_open_calls = self.half_open_calls.clamp(1, 100);
        self
    }
}
