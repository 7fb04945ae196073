//! Wall-clock time, for what is dated: signatures, tokens, `Retry-After` as a date.

use std::time::{Duration, SystemTime};

/// Time now.
#[expect(
    clippy::disallowed_methods,
    reason = "a simulated provider has a clock of its own, as the real one has"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Time since 1970.
pub(super) fn since_epoch() -> Duration {
    now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
