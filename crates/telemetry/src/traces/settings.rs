//! Where traces go.

use serde::{Deserialize, Serialize};

/// Which requests are traced, and where that is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceSettings {
    /// URL of a collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`. Absent: nothing is traced.
    pub endpoint: Option<String>,
    /// The part of the requests that is traced, 0 to 1, of those that come without a decision of their own in the header `traceparent`.
    pub sample_ratio: f64,
    /// What this process is called; else the name of its binary.
    pub service_name: Option<String>,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 1.0, service_name: None }
    }
}
