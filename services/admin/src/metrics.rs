//! What the control plane counts.

use embermesh_telemetry::Metrics;
use prometheus::{IntCounter, IntGauge};

/// Keys that somebody should look after, of all tenants.
#[derive(Debug, Clone)]
pub(crate) struct KeyMetrics {
    /// Their rotation is due, and no successor of theirs is in use.
    pub(crate) due: IntGauge,
    /// They end within seven days and have no successor.
    pub(crate) ending: IntGauge,
}

impl KeyMetrics {
    /// Registers the handles.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).map(|made| metrics.register(made));
        Ok(Self {
            due: gauge(
                "admin_keys_rotation_due",
                "Keys that are due for rotation and have no successor in use.",
            )?,
            ending: gauge("admin_keys_ending", "Keys that end within seven days and have no successor.")?,
        })
    }
}

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
