//! Whether a replica that answers its poller also answers reads. Failing ones are left alone for a while, so that they cost no request
//! its time.

use std::time::{Duration, Instant};

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    failures: u32,
    rest: Duration,
    until: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self { failures: 0, rest: FIRST_REST, until: None }
    }
}

impl Health {
    pub fn served(&mut self) {
        *self = Self::default();
    }

    pub fn failed(&mut self, now: Instant) {
        // reads that were under way when it was found failing say nothing new
        if self.is_resting(now) {
            return;
        }
        self.failures += 1;
        if self.failures >= FAILURES {
            self.until = Some(now + self.rest);
            self.rest = (self.rest * 2).min(LONGEST_REST);
        }
    }

    /// How many reads it may have at once, of `most`: one at a time until it has served one again.
    pub fn room(&self, now: Instant, most: usize) -> usize {
        match self.until {
            Some(_) if self.is_resting(now) => 0,
            Some(_) => most.min(1),
            None => most,
        }
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_it_rests_and_is_tried_with_one_read_at_a_time() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut health = Health::default();
        health.failed(begin);
        health.served();
        health.failed(begin);
        health.failed(begin);
        assert_eq!(health.room(begin, 9), 9);
        health.failed(begin);
        health.failed(begin);
        assert_eq!((health.room(begin, 9), health.room(after(1), 9)), (0, 1));
        // the next failure doubles the rest
        health.failed(after(1));
        assert_eq!((health.room(after(2), 9), health.room(after(3), 9)), (0, 1));
        health.served();
        assert_eq!(health.room(after(3), 9), 9);
    }

    #[test]
    fn the_rest_has_an_end() {
        let mut now = Instant::now();
        let mut health = Health::default();
        for _ in 0..100 {
            health.failed(now);
            now += LONGEST_REST;
            assert!(health.room(now, 9) > 0);
        }
    }
}
