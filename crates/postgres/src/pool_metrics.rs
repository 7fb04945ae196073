//! `db_pool_connections`: a pool, as its process sees it.

use std::{convert::Infallible, time::Duration};

use embermesh_telemetry::Metrics;
use prometheus::{IntGaugeVec, Opts};

use crate::{Database, Schema};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// The metric of one pool. The pool's name is a constant label, so that the pools of one process share the metric.
#[derive(Clone, Debug)]
pub struct PoolMetrics(IntGaugeVec);

impl PoolMetrics {
    /// Registers it, for the pool that a service works in `schema` with.
    ///
    /// # Errors
    /// When the metric is named badly, which is a defect.
    pub fn new(metrics: &Metrics, schema: Schema) -> Result<Self, prometheus::Error> {
        let connections = Opts::new("db_pool_connections", "Database connections, by state.");
        let connections = connections.const_label("pool", schema.to_string());
        Ok(Self(metrics.register(IntGaugeVec::new(connections, &["state"])?)))
    }

    /// Shows what is now.
    pub fn sample(&self, pool: &Database) {
        let status = pool.status();
        for (state, count) in [
            ("max", status.max_size),
            ("idle", status.idle),
            ("in_use", status.size.saturating_sub(status.idle)),
            ("waiting", status.waiting),
        ] {
            self.0.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Shows it for ever.
    pub async fn watch(&self, pool: &Database) -> Infallible {
        loop {
            self.sample(pool);
            tokio::time::sleep(EVERY).await;
        }
    }
}
