//! What is known of the record of calls.

use embermesh_telemetry::Metrics;
use prometheus::{IntCounter, IntGauge};

#[derive(Debug, Clone)]
pub(super) struct CallMetrics {
    /// Calls that admin has.
    pub told: IntCounter,
    /// Calls that nobody will know of.
    pub dropped: IntCounter,
    /// Bytes that wait for admin.
    pub waiting: IntGauge,
}

impl CallMetrics {
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help).map(|made| metrics.register(made));
        Ok(Self {
            told: counter("gateway_api_requests_recorded_total", "Calls whose rows admin has.")?,
            dropped: counter(
                "gateway_api_requests_dropped_total",
                "Calls that are not recorded, because too many waited for admin or it refused them.",
            )?,
            waiting: metrics.register(IntGauge::new(
                "gateway_api_requests_waiting_bytes",
                "Recorded calls that wait for admin.",
            )?),
        })
    }
}
