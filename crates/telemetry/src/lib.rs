//! Logs, metrics and traces of a process. Never sees a text, a key or a vector: fields are ids, counts and durations.

mod logs;
mod metrics;
mod traces;

pub use logs::{Format, LOG_LEVELS, LogError, LogLevels, LogSettings, log_components, start_logs};
pub use metrics::{Exemplars, LATENCY_BUCKETS, Metrics};
pub use traces::{Span, TRACEPARENT, Trace, TraceSettings, Traces, Within, within};
