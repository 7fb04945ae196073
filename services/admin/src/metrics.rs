//! What the control plane counts.

use embermesh_telemetry::Metrics;
use prometheus::{IntCounter, IntGauge};

/// Handles of the control plane's metrics.
#[derive(Debug, Clone)]
pub(crate) struct AdminMetrics {
    /// Open configuration streams.
    pub(crate) subscribers: IntGauge,
    /// Changes sent to the streams.
    pub(crate) changes: IntCounter,
}

impl AdminMetrics {
    /// Registers the handles.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            subscribers: metrics.register(IntGauge::new(
                "admin_config_subscribers",
                "Open configuration streams of this replica.",
            )?),
            changes: metrics.register(IntCounter::new(
                "admin_config_changes_total",
                "Changed entries that this replica sent to its streams.",
            )?),
        })
    }
}
