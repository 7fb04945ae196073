//! What the ledger counts.

use embermesh_telemetry::{LATENCY_BUCKETS, Metrics};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// Handles of the ledger's metrics.
#[derive(Debug, Clone)]
pub(crate) struct LedgerMetrics {
    /// Operations, by kind and outcome.
    pub(crate) operations: IntCounterVec,
    /// How many operations each transaction committed.
    pub(crate) batch: Histogram,
    /// How long a transaction took.
    pub(crate) commits: Histogram,
}

impl LedgerMetrics {
    /// Registers the handles.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let operations =
            Opts::new("ledger_operations_total", "Operations on the books, by kind and outcome.");
        let batch =
            HistogramOpts::new("ledger_batch_operations", "Operations that one transaction committed.");
        // constant labels let several services of one process share a name
        let queries = HistogramOpts::new("db_query_duration_seconds", "Database operations, by kind.");
        let queries = queries.buckets(LATENCY_BUCKETS.to_vec()).const_label("schema", "ledger");
        let queries = metrics.register(HistogramVec::new(queries, &["query"])?);
        let batch = batch.buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        Ok(Self {
            operations: metrics.register(IntCounterVec::new(operations, &["operation", "outcome"])?),
            batch: metrics.register(Histogram::with_opts(batch)?),
            commits: queries.with_label_values(&["commit"]),
        })
    }
}
