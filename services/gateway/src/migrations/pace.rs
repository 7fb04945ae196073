//! A migration's own pace.

use std::time::Duration;

/// How long the next batch has to wait for so many calls and tokens, at limits of a minute each.
pub(super) fn wait(calls: u64, tokens: u64, calls_per_minute: u64, tokens_per_minute: u64) -> Duration {
    let share = |used: u64, most: u64| Duration::from_secs(60).mul_f64(used as f64 / most.max(1) as f64);
    share(calls, calls_per_minute).max(share(tokens, tokens_per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_limit_decides_how_long_to_wait() {
        assert_eq!(wait(1, 100, 60, 1_000_000).as_secs_f64(), 1.0);
        assert_eq!(wait(1, 30_000, 6_000, 60_000).as_secs_f64(), 30.0);
        assert_eq!(wait(0, 0, 1, 1), Duration::ZERO);
    }
}
