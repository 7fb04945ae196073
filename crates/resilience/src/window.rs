//! What happened in the last seconds: a ring of slots and their running total, of fixed size.

use std::time::{Duration, Instant};

use crate::histogram::Histogram;

const MOST_SLOTS: u32 = 30;
const NARROWEST_SLOT: Duration = Duration::from_secs(1);

/// Counts of the calls of one slot, or of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
    pub(crate) slow: u32,
    /// Of the successful calls that were not slow: what is usual, by which a slow one is known.
    pub(crate) latencies: Histogram,
}

impl Tally {
    fn add(&mut self, call: Call) {
        self.calls = self.calls.saturating_add(1);
        self.slow = self.slow.saturating_add(u32::from(call.slow));
        self.failures = self.failures.saturating_add(u32::from(!call.ok));
        if call.ok && !call.slow {
            self.latencies.add(call.took);
        }
    }

    fn subtract(&mut self, other: &Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
        self.latencies.subtract(&other.latencies);
    }

    /// 0 without calls.
    pub(crate) fn failure_rate(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.calls.max(1))
    }

    /// 0 without calls.
    pub(crate) fn slow_rate(&self) -> f64 {
        f64::from(self.slow) / f64::from(self.calls.max(1))
    }
}

/// One finished call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) took: Duration,
    pub(crate) ok: bool,
    pub(crate) slow: bool,
}

/// A sliding window. A call counts when its result arrives, so a window shorter than a call still sees that call, and is
/// forgotten between `span` less one slot and `span` later.
#[derive(Debug)]
pub(crate) struct Window {
    slots: Box<[Tally]>,
    width: Duration,
    /// Index of the slot that is being filled.
    head: usize,
    /// When that slot began; nothing before the first look.
    began: Option<Instant>,
    total: Tally,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        let width = (span / MOST_SLOTS).max(NARROWEST_SLOT);
        let slots = span.as_millis().div_ceil(width.as_millis()).clamp(1, u128::from(MOST_SLOTS));
        let slots = vec![Tally::default(); usize::try_from(slots).unwrap_or(1)].into_boxed_slice();
        Self { slots, width, head: 0, began: None, total: Tally::default() }
    }

    /// The total as of `now`. A time before the current slot counts as within it: callers on different threads may be a moment
    /// apart.
    pub(crate) fn total(&mut self, now: Instant) -> &Tally {
        self.turn(now);
        &self.total
    }

    pub(crate) fn record(&mut self, now: Instant, call: Call) {
        self.turn(now);
        self.total.add(call);
        if let Some(slot) = self.slots.get_mut(self.head) {
            slot.add(call);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.total = Tally::default();
        self.slots.fill(Tally::default());
    }

    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let since = now.saturating_duration_since(began);
        if since < self.width {
            return;
        }
        let steps = u32::try_from(since.as_nanos() / self.width.as_nanos()).unwrap_or(u32::MAX);
        self.began = Some(self.width.checked_mul(steps).map_or(now, |ahead| began + ahead));
        if steps as usize >= self.slots.len() {
            return self.clear();
        }
        for _ in 0..steps {
            self.head = (self.head + 1) % self.slots.len();
            if let Some(slot) = self.slots.get_mut(self.head) {
                self.total.subtract(slot);
                *slot = Tally::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_slots_that_are_left(
            gaps in proptest::collection::vec((0_u64..4_000, any::<bool>()), 1..200), seconds in 1_u64..90,
        ) {
            let span = Duration::from_secs(seconds);
            let mut window = Window::new(span);
            let width = (span / MOST_SLOTS).max(NARROWEST_SLOT).as_nanos();
            let began = Instant::now();
            let mut now = began;
            let mut seen = Vec::new();
            for (gap, ok) in gaps {
                window.record(now, Call { took: Duration::from_millis(3), ok, slow: !ok });
                seen.push(((now - began).as_nanos() / width, ok));
                now += Duration::from_millis(gap);
                let slot = (now - began).as_nanos() / width;
                let kept = window.slots.len() as u128;
                let left = seen.iter().filter(|(at, _)| at + kept > slot);
                let total = window.total(now);
                prop_assert_eq!(total.calls as usize, left.clone().count());
                prop_assert_eq!(total.failures as usize, left.filter(|(_, ok)| !ok).count());
                prop_assert_eq!(total.slow, total.failures);
                prop_assert_eq!(total.latencies.percentile(0.5).is_some(), total.calls > total.failures);
            }
        }
    }

    #[test]
    fn a_time_from_before_the_slot_counts_within_it() {
        let mut window = Window::new(Duration::from_secs(5));
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(window.total(later).calls, 0);
        let call = Call { took: Duration::ZERO, ok: true, slow: false };
        window.record(later - Duration::from_secs(59), call);
        assert_eq!(window.total(later).calls, 1);
    }
}
