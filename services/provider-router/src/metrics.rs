//! What the router counts.

use embermesh_telemetry::{LATENCY_BUCKETS, Metrics};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};

#[derive(Debug, Clone)]
pub(crate) struct RouterMetrics {
    pub requests: IntCounterVec,
    pub items: IntCounterVec,
    pub tokens: IntCounterVec,
    pub failovers: IntCounterVec,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub provider_seconds: HistogramVec,
    pub request_seconds: HistogramVec,
}

impl RouterMetrics {
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).map(|c| metrics.register(c))
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
            HistogramVec::new(opts, labels).map(|h| metrics.register(h))
        };
        let hits = counter("embedding_cache_hits_total", "Inputs served from a cache.", &["tier"])?;
        let misses = counter("embedding_cache_misses_total", "Inputs not found in a cache.", &["tier"])?;
        Ok(Self {
            requests: counter(
                "embedding_requests_total",
                "Embedding requests by outcome.",
                &["model", "status"],
            )?,
            items: counter("embedding_items_total", "Texts embedded.", &["model"])?,
            tokens: counter(
                "embedding_tokens_total",
                "Tokens charged by providers.",
                &["provider", "model"],
            )?,
            failovers: counter(
                "embedding_failovers_total",
                "Calls that went on to another deployment.",
                &["from", "to"],
            )?,
            cache_hits: hits.with_label_values(&["memory"]),
            cache_misses: misses.with_label_values(&["memory"]),
            provider_seconds: histogram(
                "provider_request_duration_seconds",
                "Time at the provider.",
                &["provider", "status"],
            )?,
            request_seconds: histogram(
                "embedding_request_duration_seconds",
                "Time in the router.",
                &["model"],
            )?,
        })
    }
}
