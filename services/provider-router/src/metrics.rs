//! What the router counts.

use embermesh_telemetry::{LATENCY_BUCKETS, Metrics};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts};

#[derive(Debug, Clone)]
pub(crate) struct RouterMetrics {
    pub requests: IntCounterVec,
    pub items: IntCounterVec,
    pub tokens: IntCounterVec,
    pub failovers: IntCounterVec,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub redis_hits: IntCounter,
    pub redis_misses: IntCounter,
    /// Texts that waited for somebody else's call.
    pub single_flight: IntCounter,
    /// Calls that several requests shared.
    pub shared_calls: IntCounter,
    /// 429s of providers.
    pub throttled: IntCounterVec,
    pub transitions: IntCounterVec,
    pub provider_seconds: HistogramVec,
    pub request_seconds: HistogramVec,
    pub reservations: Reservations,
}

/// How money was set aside.
#[derive(Debug, Clone)]
pub(crate) struct Reservations {
    pub leased: IntCounter,
    pub direct: IntCounter,
    /// Of models that cost nothing.
    pub free: IntCounter,
}

/// The journal and the leases.
#[derive(Debug, Clone)]
pub(crate) struct JournalMetrics {
    pub leases: IntGauge,
    /// What the ledger does not have yet.
    pub entries: IntGauge,
    pub bytes: IntGauge,
    /// Seconds for which it has not had everything.
    pub age: IntGauge,
    pub rejected: IntCounter,
}

impl JournalMetrics {
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).map(|gauge| metrics.register(gauge));
        let rejected = "Entries of the journal that can never be booked.";
        Ok(Self {
            leases: gauge("budget_leases", "Leases of budgets that are held.")?,
            entries: gauge("journal_backlog_entries", "Entries that the ledger does not have yet.")?,
            bytes: gauge("journal_backlog_bytes", "Bytes of the journal that the ledger does not have yet.")?,
            age: gauge("journal_backlog_age_seconds", "Time for which the ledger has not had everything.")?,
            rejected: metrics.register(IntCounter::new("journal_rejected_total", rejected)?),
        })
    }
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
        let plain = |name: &str, help: &str| IntCounter::new(name, help).map(|c| metrics.register(c));
        let hits = counter("embedding_cache_hits_total", "Inputs served from a cache.", &["tier"])?;
        let misses = counter("embedding_cache_misses_total", "Inputs not found in a cache.", &["tier"])?;
        let reservations = counter(
            "budget_reservations_total",
            "Provider calls by how their money was set aside.",
            &["way"],
        )?;
        let reservations = |way: &str| reservations.with_label_values(&[way]);
        Ok(Self {
            reservations: Reservations {
                leased: reservations("leased"),
                direct: reservations("direct"),
                free: reservations("free"),
            },
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
            redis_hits: hits.with_label_values(&["redis"]),
            redis_misses: misses.with_label_values(&["redis"]),
            single_flight: plain(
                "embedding_single_flight_total",
                "Texts that waited for a call that was under way for somebody else.",
            )?,
            shared_calls: plain(
                "embedding_shared_calls_total",
                "Provider calls that several requests shared.",
            )?,
            transitions: counter(
                "circuit_breaker_transitions_total",
                "Moves of circuit breakers, by the state moved to.",
                &["deployment", "state"],
            )?,
            throttled: counter(
                "provider_throttled_total",
                "Calls that a provider refused as too many.",
                &["provider"],
            )?,
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
