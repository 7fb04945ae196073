//! What the store measures.

use embermesh_postgres::Database;
use embermesh_telemetry::{LATENCY_BUCKETS, Metrics, Span};
use prometheus::{HistogramOpts, HistogramTimer, HistogramVec, IntGaugeVec, Opts};

/// Handles on the store's metrics.
#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    searches: HistogramVec,
    queries: HistogramVec,
    connections: IntGaugeVec,
}

impl StoreMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let searches =
            HistogramOpts::new("vector_search_duration_seconds", "Vector searches, by how rows were found.");
        // constant labels let several services of one process share a name
        let queries = HistogramOpts::new("db_query_duration_seconds", "Database operations, by kind.");
        let connections = Opts::new("db_pool_connections", "Database connections, by state.");
        Ok(Self {
            searches: metrics
                .register(HistogramVec::new(searches.buckets(LATENCY_BUCKETS.to_vec()), &["scan"])?),
            queries: metrics.register(HistogramVec::new(
                queries.buckets(LATENCY_BUCKETS.to_vec()).const_label("schema", "store"),
                &["query"],
            )?),
            connections: metrics
                .register(IntGaugeVec::new(connections.const_label("pool", "store"), &["state"])?),
        })
    }

    /// Measures an operation until this is dropped.
    pub(crate) fn query(&self, kind: &'static str) -> (HistogramTimer, Span) {
        let mut span = Span::calling("postgresql");
        span.set("db.operation.name", kind);
        (self.queries.with_label_values(&[kind]).start_timer(), span)
    }

    pub(crate) fn searched(&self, scan: &'static str, seconds: f64) {
        self.searches.with_label_values(&[scan]).observe(seconds);
    }

    pub(crate) fn sample(&self, pool: &Database) {
        let status = pool.status();
        for (state, count) in [
            ("max", status.max_size),
            ("idle", status.idle),
            ("in_use", status.size.saturating_sub(status.idle)),
            ("waiting", status.waiting),
        ] {
            self.connections.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
