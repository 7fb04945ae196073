//! A limit of this process whose whole minute may be used at once: a sliding window.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);
/// What is used within so long is remembered together, as of its end.
const GRAIN: Duration = Duration::from_secs(1);

/// No more than `per_minute` in any minute.
#[derive(Debug)]
pub(super) struct Window {
    per_minute: u64,
    used: Mutex<VecDeque<Grain>>,
}

#[derive(Debug)]
struct Grain {
    since: Instant,
    last: Instant,
    n: u64,
}

impl Window {
    pub(super) fn new(per_minute: u64) -> Self {
        Self { per_minute, used: Mutex::default() }
    }

    /// Takes `n`, or nothing and says when they will be there.
    pub(super) fn take(&self, now: Instant, n: u64) -> Result<(), Duration> {
        let mut used = self.counting(now);
        let wait = self.wait(&used, now, n);
        if !wait.is_zero() {
            return Err(wait);
        }
        remember(&mut used, now, n);
        Ok(())
    }

    /// Counts `n` that were taken elsewhere.
    pub(super) fn note(&self, now: Instant, n: u64) {
        remember(&mut self.counting(now), now, n);
    }

    /// How long until `n` are there.
    pub(super) fn wait_for(&self, now: Instant, n: u64) -> Duration {
        self.wait(&self.counting(now), now, n)
    }

    /// Gives back `n` that were taken and not used.
    pub(super) fn give_back(&self, n: u64) {
        if let Some(grain) = self.lock().back_mut() {
            grain.n = grain.n.saturating_sub(n);
        }
    }

    fn wait(&self, used: &VecDeque<Grain>, now: Instant, n: u64) -> Duration {
        // more than a minute's worth counts as a minute's
        let n = n.min(self.per_minute);
        let taken: u64 = used.iter().map(|grain| grain.n).sum();
        let mut missing = (taken + n).saturating_sub(self.per_minute);
        for grain in used {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(grain.n);
            if missing == 0 {
                return (grain.last + MINUTE).saturating_duration_since(now).max(Duration::from_millis(1));
            }
        }
        Duration::ZERO
    }

    fn counting(&self, now: Instant) -> MutexGuard<'_, VecDeque<Grain>> {
        let mut used = self.lock();
        while used.front().is_some_and(|grain| now.saturating_duration_since(grain.last) >= MINUTE) {
            used.pop_front();
        }
        used
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Grain>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(used: &mut VecDeque<Grain>, now: Instant, n: u64) {
    match used.back_mut().filter(|grain| now.saturating_duration_since(grain.since) < GRAIN) {
        Some(grain) => {
            grain.n += n;
            grain.last = grain.last.max(now);
        }
        None => used.push_back(Grain { since: now, last: now, n }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn all_of_it_may_be_used_at_once_and_comes_back_a_minute_later() {
        let (window, start) = (Window::new(10), Instant::now());
        assert_eq!(window.take(start, 7), Ok(()));
        assert_eq!(window.take(start + 20 * GRAIN, 3), Ok(()));
        assert_eq!(window.take(start + 20 * GRAIN, 1), Err(MINUTE - 20 * GRAIN));
        assert_eq!(window.wait_for(start + 20 * GRAIN, 8), MINUTE);
        assert_eq!(window.take(start + MINUTE, 7), Ok(()));
        window.give_back(2);
        assert_eq!(window.take(start + MINUTE, 2), Ok(()));
        assert!(window.take(start + MINUTE, 1).is_err());
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_and_a_wait_that_was_told_suffices(
            per_minute in 1_u64..50,
            calls in vec((0_u64..20_000, 1_u64..60), 1..120),
        ) {
            let (window, mut now) = (Window::new(per_minute), Instant::now());
            let mut taken: Vec<(Instant, u64)> = Vec::new();
            for (millis, n) in calls {
                now += Duration::from_millis(millis);
                let n = n.min(per_minute);
                if let Err(wait) = window.take(now, n) {
                    now += wait;
                    prop_assert_eq!(window.take(now, n), Ok(()));
                }
                taken.push((now, n));
                let minute: u64 = taken
                    .iter()
                    .filter(|(at, _)| now.saturating_duration_since(*at) < MINUTE)
                    .map(|(_, n)| n)
                    .sum();
                prop_assert!(minute <= per_minute, "{} in a minute", minute);
            }
        }
    }
}
