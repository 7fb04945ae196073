//! `http_requests_total`, `http_request_duration_seconds` and `gateway_overhead_seconds`. Labels are bounded: paths are route templates and names of methods.

use std::time::{Duration, SystemTime};

use embermesh_telemetry::{Exemplars, LATENCY_BUCKETS, Metrics, Trace};
use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts};

static BUCKETS: [f64; 14] = LATENCY_BUCKETS;
/// Seconds; a vector that is known is there in a fraction of a millisecond.
const OVERHEAD_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Counts what the edge answers.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    /// Of `duration`.
    exemplars: Exemplars,
    overhead: Histogram,
}

impl HttpMetrics {
    /// Registers all.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("http_requests_total", "Requests answered, by method, route and status.");
        let duration = HistogramOpts::new(
            "http_request_duration_seconds",
            "From a request's head to its answer's head.",
        )
        .buckets(BUCKETS.to_vec());
        let overhead = HistogramOpts::new(
            "gateway_overhead_seconds",
            "Of requests that had something embedded: the time in the system less the time at providers.",
        )
        .buckets(OVERHEAD_BUCKETS.to_vec());
        Ok(Self {
            overhead: metrics.register(Histogram::with_opts(overhead)?),
            exemplars: metrics.exemplars("http_request_duration_seconds", &BUCKETS),
            requests: metrics.register(IntCounterVec::new(requests, &["method", "path", "status"])?),
            duration: metrics.register(HistogramVec::new(duration, &["method", "path"])?),
        })
    }

    /// Counts one answer.
    pub fn record(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        let method = label(method);
        self.requests.with_label_values(&[method, path, status.as_str()]).inc();
        self.duration.with_label_values(&[method, path]).observe(took.as_secs_f64());
    }

    /// Makes an answer that was counted the example of those that took as long.
    pub fn show(&self, method: &Method, path: &str, took: Duration, trace: &Trace, now: SystemTime) {
        self.exemplars.note(&[label(method), path], took.as_secs_f64(), trace, now);
    }

    /// Counts what an answer took beside its time at providers.
    pub fn record_overhead(&self, took: Duration, at_providers: Duration) {
        self.overhead.observe(took.saturating_sub(at_providers).as_secs_f64());
    }
}

/// A client may send any method name; a label may not be any.
fn label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "other",
    }
}
