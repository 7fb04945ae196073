//! For how long a request has had something under way at providers: of calls side by side a moment counts once.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{batch::Batch, text::Asker};

/// The times of one request's calls, its own and those of others that it waited for.
#[derive(Debug, Default)]
pub(crate) struct ProviderTime(Mutex<Vec<(Instant, Instant)>>);

impl ProviderTime {
    /// Something was under way for the request from `begun` until `ended`.
    pub fn add(&self, begun: Instant, ended: Instant) {
        if begun < ended {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((begun, ended));
        }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_unstable();
        let (mut total, mut until) = (Duration::ZERO, None);
        for (begun, ended) in times.iter() {
            let begun = until.map_or(*begun, |until| (*begun).max(until));
            total += ended.saturating_duration_since(begun);
            until = until.max(Some(*ended));
        }
        total
    }
}

/// A call under way for everybody who has texts in it, until this is dropped.
pub(crate) struct UnderWay {
    since: Instant,
    askers: Vec<Arc<Asker>>,
}

impl UnderWay {
    pub fn of(batch: &Batch) -> Self {
        let mut askers: Vec<Arc<Asker>> = Vec::new();
        for text in &batch.texts {
            // texts of a request lie together
            if askers.last().is_none_or(|last| !Arc::ptr_eq(last, &text.asker)) {
                askers.push(Arc::clone(&text.asker));
            }
        }
        Self { since: Instant::now(), askers }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = Instant::now();
        self.askers.iter().for_each(|asker| asker.at_providers.add(self.since, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_calls_side_by_side_a_moment_counts_once() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let time = ProviderTime::default();
        assert_eq!(time.total(), Duration::ZERO);
        for (begun, ended) in [(50, 60), (0, 10), (5, 20), (6, 8), (20, 21), (30, 30), (90, 80)] {
            time.add(at(begun), at(ended));
        }
        assert_eq!(time.total(), Duration::from_millis(21 + 10));
        assert_eq!(time.total(), Duration::from_millis(31));
    }
}
