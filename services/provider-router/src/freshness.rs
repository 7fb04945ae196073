//! How old a vector may be that is served from a cache. Operators turn it at run time.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Nothing is kept longer in memory, whatever its size; and no vector is served when it is older, not even in an emergency.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What operators say of the age of vectors.
#[derive(Debug)]
pub(crate) struct Freshness {
    ttl_ms: AtomicU64,
    emergency: AtomicBool,
}

impl Freshness {
    /// Vectors are served for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl_ms: AtomicU64::new(millis(ttl)), emergency: AtomicBool::new(false) }
    }

    /// From now on vectors are served for `ttl`, or in an `emergency` for as long as they are kept.
    pub fn turn(&self, ttl: Duration, emergency: bool) {
        self.ttl_ms.store(millis(ttl), Ordering::Relaxed);
        self.emergency.store(emergency, Ordering::Relaxed);
    }

    /// Whether a vector of this age is served to an agent that takes none older than `max_age`.
    pub fn allows(&self, age: Duration, max_age: Duration) -> bool {
        if self.emergency.load(Ordering::Relaxed) { age <= LONGEST } else { age <= max_age.min(self.ttl()) }
    }

    /// How long a vector that is new is worth keeping where all routers can read it.
    pub fn keep_for(&self) -> Duration {
        if self.emergency.load(Ordering::Relaxed) { self.ttl().max(LONGEST) } else { self.ttl() }
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms.load(Ordering::Relaxed))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_shorter_of_agent_and_operator_holds_but_in_an_emergency_neither_does() {
        let freshness = Freshness::new(HOUR);
        assert!(freshness.allows(HOUR, Duration::MAX) && !freshness.allows(HOUR * 2, Duration::MAX));
        assert!(!freshness.allows(HOUR, HOUR / 2));
        assert_eq!(freshness.keep_for(), HOUR);
        freshness.turn(HOUR * 3, false);
        assert!(freshness.allows(HOUR * 2, Duration::MAX) && !freshness.allows(HOUR * 4, Duration::MAX));
        freshness.turn(HOUR, true);
        assert!(freshness.allows(HOUR * 100, HOUR / 2), "whatever is kept is served");
        assert!(!freshness.allows(LONGEST + HOUR, Duration::MAX));
        assert_eq!(freshness.keep_for(), LONGEST);
        freshness.turn(HOUR, false);
        assert!(!freshness.allows(HOUR * 2, Duration::MAX));
    }
}
