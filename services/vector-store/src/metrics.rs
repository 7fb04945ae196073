//! What the store measures.

use embermesh_postgres::{PoolMetrics, ReplicaStatus, Schema, Source, Standing};
use embermesh_telemetry::{LATENCY_BUCKETS, Metrics, Span};
use prometheus::{GaugeVec, HistogramOpts, HistogramTimer, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

/// Handles on the store's metrics.
#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    searches: HistogramVec,
    queries: HistogramVec,
    /// Of the pool that requests have.
    pub(crate) pool: PoolMetrics,
    reads: IntCounterVec,
    replicas: IntGaugeVec,
    lag_seconds: GaugeVec,
    lag_bytes: IntGaugeVec,
}

impl StoreMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let searches =
            HistogramOpts::new("vector_search_duration_seconds", "Vector searches, by how rows were found.");
        // constant labels let several services of one process share a name
        let queries = HistogramOpts::new("db_query_duration_seconds", "Database operations, by kind.");
        let reads = Opts::new(
            "db_reads_total",
            "Requests that read where there are replicas, by who answered, and why it was the primary.",
        );
        let replicas = Opts::new("db_replica_state", "1 on how a replica stands.");
        let lag_seconds =
            Opts::new("db_replica_lag_seconds", "How long ago the primary was where a replica is.");
        let lag_bytes =
            Opts::new("db_replica_lag_bytes", "Bytes of the log that a replica has not replayed.");
        Ok(Self {
            reads: metrics.register(IntCounterVec::new(reads, &["target", "reason"])?),
            replicas: metrics.register(IntGaugeVec::new(replicas, &["replica", "state"])?),
            lag_seconds: metrics.register(GaugeVec::new(lag_seconds, &["replica"])?),
            lag_bytes: metrics.register(IntGaugeVec::new(lag_bytes, &["replica"])?),
            searches: metrics
                .register(HistogramVec::new(searches.buckets(LATENCY_BUCKETS.to_vec()), &["scan"])?),
            queries: metrics.register(HistogramVec::new(
                queries.buckets(LATENCY_BUCKETS.to_vec()).const_label("schema", "store"),
                &["query"],
            )?),
            pool: PoolMetrics::new(metrics, Schema::Store)?,
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

    /// What counts reads.
    pub(crate) fn reads_observer(&self) -> impl Fn(Source) + Send + Sync + 'static {
        let reads = self.reads.clone();
        move |source| {
            let labels = match source {
                Source::Replica => ["replica", ""],
                Source::Primary(why) => ["primary", why.as_str()],
            };
            reads.with_label_values(&labels).inc();
        }
    }

    /// Where replicas stand now. How far behind one is stays as it was while that cannot be told.
    pub(crate) fn sample_replicas(&self, replicas: &[ReplicaStatus]) {
        for replica in replicas {
            let name = replica.name.as_str();
            for state in Standing::ALL {
                let is_it = i64::from(state == replica.standing);
                self.replicas.with_label_values(&[name, state.as_str()]).set(is_it);
            }
            if let Some(lag) = replica.lag {
                self.lag_seconds.with_label_values(&[name]).set(lag.time.as_secs_f64());
                self.lag_bytes.with_label_values(&[name]).set(i64::try_from(lag.bytes).unwrap_or(i64::MAX));
            }
        }
    }
}
