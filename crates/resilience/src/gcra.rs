//! A rate limit that holds in *any* minute, not only in those of the clock.
//!
//! A bucket that refills at the full rate lets a full bucket and a minute's refill through within one minute: up to twice the limit
//! of a provider that counts a sliding minute. Here the burst is part of the allowance: what refills is `per_minute - burst`.
//! Levels are whole numbers of token-nanoseconds, so nothing is rounded and nothing drifts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: u128 = Duration::from_secs(60).as_nanos();

/// What may pass in a minute, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Most that passes in any 60 s.
    pub per_minute: u64,
    /// Most that passes at once after a rest.
    pub burst: u64,
}

impl Rate {
    /// `per_minute` with a tenth of it at once.
    #[must_use]
    pub fn per_minute(per_minute: u64) -> Self {
        Self::with_burst(per_minute, per_minute / 10)
    }

    /// `per_minute` with `burst` at once: at least 1, and less than the whole minute, so that something is left to refill.
    /// A rate of nothing is taken as one a minute; whoever may not call at all should not be asked.
    #[must_use]
    pub fn with_burst(per_minute: u64, burst: u64) -> Self {
        let per_minute = per_minute.max(1);
        Self { per_minute, burst: burst.clamp(1, (per_minute - 1).max(1)) }
    }

    /// What each of `replicas` may let through so that all together keep the rate. At least one a minute each, so more replicas
    /// than calls a minute go over it.
    #[must_use]
    pub fn share(self, replicas: u32) -> Self {
        let replicas = u64::from(replicas.max(1));
        Self::with_burst(self.per_minute / replicas, self.burst / replicas)
    }

    /// What refills in a minute.
    fn sustained(self) -> u128 {
        u128::from(self.per_minute.saturating_sub(self.burst).max(1))
    }

    /// The level that a burst fills.
    fn depth(self) -> u128 {
        u128::from(self.burst) * MINUTE
    }
}

/// One limit of this process.
#[derive(Debug)]
pub struct Gcra {
    rate: Rate,
    level: Mutex<Level>,
}

#[derive(Debug, Default)]
struct Level {
    /// What was let through and has not drained yet, in tokens times a minute's nanoseconds.
    used: u128,
    at: Option<Instant>,
}

impl Gcra {
    /// A limit with its whole burst ready.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate: Rate::with_burst(rate.per_minute, rate.burst), level: Mutex::default() }
    }

    /// Takes `n`, or takes nothing and says how long until they are there. More than the burst passes when the whole burst is
    /// ready, and whoever comes after waits until it has been made up for.
    ///
    /// # Errors
    ///
    /// The time to wait, if nobody else takes anything before.
    pub fn take(&self, now: Instant, n: u64) -> Result<(), Duration> {
        let mut level = self.drained(now);
        match self.wait(&level, n) {
            Duration::ZERO => {
                level.used += u128::from(n) * MINUTE;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until `n` are there; takes nothing.
    #[must_use]
    pub fn wait_for(&self, now: Instant, n: u64) -> Duration {
        self.wait(&self.drained(now), n)
    }

    /// Gives back `n` that were taken and not used.
    pub fn give_back(&self, n: u64) {
        let mut level = self.lock();
        level.used = level.used.saturating_sub(u128::from(n) * MINUTE);
    }

    fn wait(&self, level: &Level, n: u64) -> Duration {
        let room = self.rate.depth().saturating_sub(u128::from(n) * MINUTE);
        let nanos = level.used.saturating_sub(room).div_ceil(self.rate.sustained());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn drained(&self, now: Instant) -> MutexGuard<'_, Level> {
        let mut level = self.lock();
        let since = level.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        level.used = level.used.saturating_sub(since.as_nanos() * self.rate.sustained());
        level.at = level.at.max(Some(now));
        level
    }

    fn lock(&self) -> MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
