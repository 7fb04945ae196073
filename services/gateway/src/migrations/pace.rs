//! A migration's own pace: how long it waits after a batch, and how fast it gets on.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What the rate is measured over.
const WINDOW: Duration = Duration::from_secs(60);
/// Before this nothing is known of the rate.
const LEAST: Duration = Duration::from_secs(2);

/// How long the next batch has to wait for so many calls and tokens, at limits of a minute each.
pub(super) fn wait(calls: u64, tokens: u64, calls_per_minute: u64, tokens_per_minute: u64) -> Duration {
    let share = |used: u64, most: u64| Duration::from_secs(60).mul_f64(used as f64 / most.max(1) as f64);
    share(calls, calls_per_minute).max(share(tokens, tokens_per_minute))
}

/// Rows of the last minute, waits included.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    batches: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Measures from now on.
    pub fn new(now: Instant) -> Self {
        Self { since: now, batches: VecDeque::new() }
    }

    /// Counts a batch; rows of a second, once that can be told.
    pub fn count(&mut self, rows: u64, now: Instant) -> Option<f64> {
        self.batches.push_back((now, rows));
        while let Some((at, _)) = self.batches.front()
            && now.duration_since(*at) > WINDOW
        {
            self.batches.pop_front();
        }
        let measured = now.duration_since(self.since).min(WINDOW);
        let rows: u64 = self.batches.iter().map(|(_, rows)| rows).sum();
        (measured >= LEAST).then(|| rows as f64 / measured.as_secs_f64())
    }
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

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut rate = Rate::new(begun);
        assert_eq!(rate.count(100, at(1)), None, "one second tells nothing");
        assert_eq!(rate.count(100, at(10)), Some(20.0));
        // a minute in which nothing came
        assert_eq!(rate.count(60, at(100)), Some(1.0));
    }
}
