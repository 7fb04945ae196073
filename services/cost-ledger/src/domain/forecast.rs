//! When a limit will be reached. A straight line from the period's beginning through what is used now: no season, no trend, so that
//! whoever reads it can redo it in their head.

use std::time::{Duration, SystemTime};

use embermesh_types::NanoUsd;

/// A period as it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) began: SystemTime,
    pub(crate) now: SystemTime,
    pub(crate) ends: SystemTime,
}

/// The time, in whole seconds, at which `used` has grown to `limit`; `now` when it has already. `None`: not before the period ends.
pub(crate) fn reached_at(used: NanoUsd, limit: NanoUsd, course: Course) -> Option<SystemTime> {
    if used >= limit {
        return Some(course.now);
    }
    let elapsed = course.now.duration_since(course.began).ok()?.as_nanos();
    let (used, limit) = (u128::try_from(used.0).ok()?, u128::try_from(limit.0).ok()?);
    if used == 0 {
        return None;
    }
    // a month has fewer than 2^52 nanoseconds, and an amount fewer than 2^63 nano-USD
    let needed = elapsed.checked_mul(limit)?.div_ceil(used);
    let seconds = u64::try_from(needed.div_ceil(1_000_000_000)).ok()?;
    course.began.checked_add(Duration::from_secs(seconds)).filter(|at| *at < course.ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hours * HOUR)
    }

    fn day(now: u64) -> Course {
        Course { began: at(24), now: at(24 + now), ends: at(48) }
    }

    #[test]
    fn a_straight_line_from_the_beginning_of_the_period() {
        let of_100 = |used, now| reached_at(NanoUsd(used), NanoUsd(100), day(now));
        assert_eq!(of_100(50, 6), Some(at(24 + 12)));
        // exactly at the reset is not before it
        assert_eq!(of_100(25, 6), None);
        assert_eq!(of_100(26, 6), Some(at(24) + Duration::from_secs(83_077)));
        assert_eq!(of_100(0, 6), None);
        assert_eq!(of_100(100, 6), Some(at(24 + 6)));
        assert_eq!(of_100(120, 6), Some(at(24 + 6)));
        assert_eq!(of_100(1, 0), Some(at(24)));
        assert_eq!(reached_at(NanoUsd(0), NanoUsd(0), day(1)), Some(at(25)));
        let all = NanoUsd(i64::MAX);
        assert_eq!(reached_at(NanoUsd(i64::MAX / 2), all, day(6)), Some(at(36) + Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn what_lies_ahead_is_between_now_and_the_reset(used: u32, limit: u32, seconds in 0..24 * HOUR) {
            let course = Course { now: at(24) + Duration::from_secs(seconds), ..day(0) };
            if let Some(then) = reached_at(NanoUsd(used.into()), NanoUsd(limit.into()), course) {
                prop_assert!(then < course.ends && then >= course.now);
            }
        }
    }
}
