//! `http_requests_total` and `http_request_duration_seconds`. Labels are bounded: paths are route templates and names of methods.

use std::time::Duration;

use embermesh_telemetry::{LATENCY_BUCKETS, Metrics};
use http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// Counts what the edge answers.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl HttpMetrics {
    /// Registers both.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("http_requests_total", "Requests answered, by method, route and status.");
        let duration = HistogramOpts::new(
            "http_request_duration_seconds",
            "From a request's head to its answer's head.",
        )
        .buckets(LATENCY_BUCKETS.to_vec());
        Ok(Self {
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
}

/// A client may send any method name; a label may not be any.
fn label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "other",
    }
}
