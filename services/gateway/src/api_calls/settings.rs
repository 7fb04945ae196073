//! What an operator may set about the record of calls.

use embermesh_config::Span;
use serde::{Deserialize, Serialize};

/// `gateway.api_requests`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiRequests {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// The share of them that is: above 0, up to 1. Each row tells it, so that sums can be scaled.
    pub share: f32,
    /// How often calls are written down and told: what a gateway loses that is killed.
    pub interval: Span,
    /// Most that waits on disk for admin, in MiB; what comes when it is full is counted and dropped. Without `data_dir` 16 MiB wait in
    /// memory.
    pub spool_mib: u64,
}

impl Default for ApiRequests {
    fn default() -> Self {
        Self {
            enabled: true,
            share: 1.0,
            interval: Span(std::time::Duration::from_millis(250)),
            spool_mib: 256,
        }
    }
}

impl ApiRequests {
    /// Whether it can be obeyed.
    pub(crate) fn is_valid(&self) -> bool {
        self.share > 0.0 && self.share <= 1.0
    }
}
