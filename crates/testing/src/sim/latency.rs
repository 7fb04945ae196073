//! How long a deployment takes to answer.

use std::f64::consts::TAU;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// A distribution of latencies. In JSON: `{"kind": "log_normal", "p50_ms": 80, "p99_ms": 400}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Fixed {
        /// Milliseconds.
        ms: f64,
    },
    /// Any between two, equally likely.
    Uniform {
        /// Least milliseconds.
        min_ms: f64,
        /// Most milliseconds.
        max_ms: f64,
    },
    /// Log-normal, as latencies of real services nearly are.
    LogNormal {
        /// Median, in milliseconds.
        p50_ms: f64,
        /// 99th percentile, in milliseconds.
        p99_ms: f64,
    },
    /// One in even seconds of the wall clock, another in odd ones: two deployments with the values swapped cross over every second.
    Alternating {
        /// Milliseconds in even seconds.
        even_ms: f64,
        /// Milliseconds in odd seconds.
        odd_ms: f64,
    },
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874;

impl Latency {
    /// The latency of one request that came `since_epoch` after 1970.
    pub(super) fn sample(self, dice: &mut Dice, since_epoch: Duration) -> Duration {
        let ms = match self {
            Self::Fixed { ms } => ms,
            Self::Uniform { min_ms, max_ms } => min_ms + dice.roll() * (max_ms - min_ms),
            Self::LogNormal { p50_ms, p99_ms } => {
                // Box and Muller 1958; 1 - roll is never 0
                let normal = (-2.0 * (1.0 - dice.roll()).ln()).sqrt() * (TAU * dice.roll()).cos();
                p50_ms * (p99_ms / p50_ms).powf(normal / Z99)
            }
            Self::Alternating { even_ms, .. } if since_epoch.as_secs().is_multiple_of(2) => even_ms,
            Self::Alternating { odd_ms, .. } => odd_ms,
        };
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latency: Latency) -> Vec<f64> {
        let mut dice = Dice::new(1, "latency");
        let mut samples: Vec<f64> =
            (0..20_000).map(|_| latency.sample(&mut dice, Duration::ZERO).as_secs_f64() * 1000.0).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= 0.1 * expected
    }

    #[test]
    fn percentiles_are_those_asked_for() {
        let log_normal = samples(Latency::LogNormal { p50_ms: 80.0, p99_ms: 400.0 });
        assert!(near(log_normal[10_000], 80.0), "{}", log_normal[10_000]);
        assert!(near(log_normal[19_800], 400.0), "{}", log_normal[19_800]);
        let uniform = samples(Latency::Uniform { min_ms: 10.0, max_ms: 30.0 });
        assert!(uniform[0] >= 10.0 && uniform[19_999] <= 30.0 && near(uniform[10_000], 20.0));
        let fixed = samples(Latency::Fixed { ms: 7.0 });
        assert!(near(fixed[0], 7.0) && near(fixed[19_999], 7.0));
    }

    #[test]
    fn alternating_changes_with_the_second() {
        let latency = Latency::Alternating { even_ms: 1.0, odd_ms: 2.0 };
        let at = |ms| latency.sample(&mut Dice::new(1, ""), Duration::from_millis(ms)).as_millis();
        assert_eq!([at(0), at(999), at(1000), at(1999), at(2000)], [1, 1, 2, 2, 1]);
    }
}
