//! Where the primary was when: what a replica's place is held against. Needs no clock but this process's, and an idle primary makes
//! nobody late.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use embermesh_types::{Lsn, Position};

/// Between two remembered places.
const SPACING: Duration = Duration::from_millis(100);
/// What is remembered: ten minutes of steady writing. Who is further behind than that is that far behind.
const MOST: usize = 6_000;

/// How far behind the primary a place is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// How long ago the primary was there.
    pub time: Duration,
    /// Bytes of the log between here and there.
    pub bytes: u64,
}

/// The primary's places so far, on its present timeline.
#[derive(Debug, Default)]
pub(super) struct Trace {
    newest: Option<Position>,
    /// Ascending.
    places: VecDeque<(Instant, Lsn)>,
    /// When it was first seen beyond the last of `places`.
    beyond: Option<Instant>,
}

impl Trace {
    /// The primary is here now.
    pub fn note(&mut self, now: Instant, position: Position) {
        let same = |known: &Position| (known.system, known.timeline) == (position.system, position.timeline);
        if !self.newest.as_ref().is_some_and(same) {
            *self = Self::default();
        }
        let before = self.newest;
        if before.is_some_and(|before| before.lsn >= position.lsn) {
            return;
        }
        self.newest = Some(position);
        let is_soon = |(last, _): &(Instant, Lsn)| now.saturating_duration_since(*last) < SPACING;
        if self.places.back().is_some_and(is_soon) {
            self.beyond.get_or_insert(now);
            return;
        }
        let passed = self.beyond.take().zip(before).map(|(since, before)| (since, before.lsn));
        self.places.extend(passed);
        self.places.push_back((now, position.lsn));
        while self.places.len() > MOST {
            self.places.pop_front();
        }
    }

    /// Where it was seen last.
    pub fn newest(&self) -> Option<Position> {
        self.newest
    }

    /// How far behind a replica is that has come to `lsn`.
    pub fn lag(&self, now: Instant, lsn: Lsn) -> Option<Lag> {
        let newest = self.newest?;
        let bytes = newest.lsn.0.saturating_sub(lsn.0);
        if bytes == 0 {
            return Some(Lag::default());
        }
        let passed = self.places.partition_point(|(_, place)| *place <= lsn);
        let since = self.places.get(passed).map(|(at, _)| *at).or(self.beyond)?;
        Some(Lag { time: now.saturating_duration_since(since), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timeline: u32, lsn: u64) -> Position {
        Position { system: 1, timeline, lsn: Lsn(lsn) }
    }

    #[test]
    fn who_is_where_the_primary_was_is_as_late_as_that_is_long_ago() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut trace = Trace::default();
        assert_eq!(trace.lag(begin, Lsn(5)), None);
        for (millis, lsn) in [(0, 10), (1_000, 20), (2_000, 30), (2_010, 35), (2_020, 40)] {
            trace.note(after(millis), at(1, lsn));
        }
        let lag = |millis, lsn| trace.lag(after(millis), Lsn(lsn)).unwrap();
        assert_eq!(lag(5_000, 10), Lag { time: Duration::from_secs(4), bytes: 30 });
        assert_eq!(lag(5_000, 25), Lag { time: Duration::from_secs(3), bytes: 15 });
        // places that came too soon after another are not forgotten
        assert_eq!(lag(5_010, 35), Lag { time: Duration::from_secs(3), bytes: 5 });
        trace.note(after(9_000), at(1, 50));
        assert_eq!(trace.lag(after(9_010), Lsn(35)).unwrap().time, Duration::from_secs(7));
        let lag = |millis, lsn| trace.lag(after(millis), Lsn(lsn)).unwrap();
        // idle since then
        assert_eq!(lag(60_000, 50), Lag::default());
        assert_eq!(lag(60_000, 51), Lag::default());
    }

    #[test]
    fn another_timeline_begins_anew() {
        let begin = Instant::now();
        let mut trace = Trace::default();
        trace.note(begin, at(1, 100));
        trace.note(begin, at(2, 50));
        assert_eq!(trace.newest(), Some(at(2, 50)));
        assert_eq!(trace.lag(begin, Lsn(50)), Some(Lag::default()));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let begin = Instant::now();
        let mut trace = Trace::default();
        for second in 0..10_000 {
            trace.note(begin + Duration::from_secs(second), at(1, second + 1));
        }
        assert_eq!(trace.places.len(), MOST);
        let now = begin + Duration::from_secs(10_000);
        assert_eq!(trace.lag(now, Lsn(0)).unwrap().time, Duration::from_secs(MOST as u64));
    }
}
