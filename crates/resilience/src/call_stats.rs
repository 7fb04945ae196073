//! How fast and how reliable a service has been lately: the measured inputs of a choice between services.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::window::{Call, Window};

/// Calls of one service over a sliding window, in bounded memory (about 20 KB).
#[derive(Debug)]
pub struct CallStats(Mutex<Window>);

/// What a [`CallStats`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Finished calls, good and bad.
    pub calls: u64,
    /// Median latency of the successful calls, within a sixteenth; absent without any.
    pub p50: Option<Duration>,
    /// 95th percentile of the same.
    pub p95: Option<Duration>,
    /// 99th percentile of the same.
    pub p99: Option<Duration>,
    /// Successful calls of all; absent without any.
    pub success_rate: Option<f64>,
}

impl CallStats {
    /// Remembers the calls of the last `window`, in steps of a thirtieth of it or a second, whichever is longer.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self(Mutex::new(Window::new(window)))
    }

    /// Counts a call that has just ended.
    pub fn record(&self, now: Instant, took: Duration, ok: bool) {
        self.lock().record(now, Call { took, ok, slow: false });
    }

    /// What the window holds now.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let mut window = self.lock();
        let total = window.total(now);
        Summary {
            calls: u64::from(total.calls),
            p50: total.latencies.percentile(0.50),
            p95: total.latencies.percentile(0.95),
            p99: total.latencies.percentile(0.99),
            success_rate: (total.calls > 0).then(|| 1.0 - total.failure_rate()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_absent_not_zero() {
        assert_eq!(CallStats::new(Duration::from_secs(60)).summary(Instant::now()), Summary::default());
    }

    #[test]
    fn percentiles_are_of_successes_and_the_rate_is_of_all() {
        let (stats, now) = (CallStats::new(Duration::from_secs(60)), Instant::now());
        (0..90).for_each(|_| stats.record(now, Duration::from_millis(20), true));
        (0..9).for_each(|_| stats.record(now, Duration::from_millis(400), true));
        stats.record(now, Duration::from_secs(30), false);
        let summary = stats.summary(now);
        let near = |found: Option<Duration>, millis: f64| {
            let found = found.unwrap().as_secs_f64() * 1_000.0;
            assert!((found / millis - 1.0).abs() < 0.07, "{found} for {millis}");
        };
        near(summary.p50, 20.0);
        near(summary.p95, 400.0);
        near(summary.p99, 400.0);
        assert_eq!((summary.calls, summary.success_rate), (100, Some(0.99)));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (stats, now) = (CallStats::new(Duration::from_secs(60)), Instant::now());
        stats.record(now, Duration::from_secs(9), false);
        assert_eq!(stats.summary(now + Duration::from_secs(57)).calls, 1);
        assert_eq!(stats.summary(now + Duration::from_secs(60)), Summary::default());
    }
}
