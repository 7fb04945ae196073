//! Logs and metrics of a process. Never sees a text, a key or a vector: fields are ids, counts and durations.

mod logs;
mod metrics;

pub use logs::{Format, LOG_LEVELS, LogError, LogLevels, LogSettings, log_components, start_logs};
pub use metrics::{LATENCY_BUCKETS, Metrics};
