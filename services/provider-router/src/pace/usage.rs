//! How much was used lately, so that leases are as large as what will be used of them.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// What was used in this second and in the one before.
#[derive(Debug, Default)]
pub(super) struct Usage {
    since: Option<Instant>,
    now: u64,
    before: u64,
}

impl Usage {
    pub(super) fn record(&mut self, now: Instant, n: u64) {
        self.turn(now);
        self.now = self.now.saturating_add(n);
    }

    /// What a second uses, by the fuller of the two.
    pub(super) fn per_second(&mut self, now: Instant) -> u64 {
        self.turn(now);
        self.now.max(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= SECOND {
            self.before = if passed < 2 * SECOND { self.now } else { 0 };
            self.now = 0;
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_used_and_forgets_it() {
        let start = Instant::now();
        let mut usage = Usage::default();
        for tenth in 0..20 {
            usage.record(start + tenth * SECOND / 10, 5);
        }
        assert_eq!(usage.per_second(start + 2 * SECOND), 50);
        assert_eq!(usage.per_second(start + 5 * SECOND), 0);
    }
}
