//! Latencies in log-linear bins: eight per power of two, so a percentile is off by at most a sixteenth of itself.

use std::time::Duration;

/// Everything below 128 µs is one bin: no remote call is that fast.
const FLOOR_BITS: u32 = 7;
const SUB_BITS: u32 = 3;
/// Up to 134 s; longer calls share the last bin.
const BINS: usize = 1 + (20 << SUB_BITS);

/// Counts of latencies.
#[derive(Debug, Clone)]
pub(crate) struct Histogram([u32; BINS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BINS])
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, took: Duration) {
        if let Some(bin) = self.0.get_mut(bin_of(took)) {
            *bin = bin.saturating_add(1);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (bin, less) in self.0.iter_mut().zip(&other.0) {
            *bin = bin.saturating_sub(*less);
        }
    }

    /// The smallest latency that `share` of all do not exceed; nothing when nothing was counted.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let count: u64 = self.0.iter().map(|bin| u64::from(*bin)).sum();
        let rank = ((share * count as f64).ceil() as u64).max(1);
        let mut below = 0;
        self.0.iter().enumerate().find_map(|(index, bin)| {
            below += u64::from(*bin);
            (below >= rank).then(|| middle_of(index))
        })
    }
}

fn bin_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < 1 << FLOOR_BITS {
        return 0;
    }
    let octave = micros.ilog2();
    let sub = (micros >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let octaves = usize::try_from(octave - FLOOR_BITS).unwrap_or(BINS);
    (1 + (octaves << SUB_BITS) + usize::try_from(sub).unwrap_or(0)).min(BINS - 1)
}

fn middle_of(bin: usize) -> Duration {
    let Some(above) = bin.checked_sub(1) else { return Duration::from_micros(1 << (FLOOR_BITS - 1)) };
    let width = 1_u64 << ((above >> SUB_BITS) + (FLOOR_BITS - SUB_BITS) as usize);
    let low = ((1 << SUB_BITS) + (above & ((1 << SUB_BITS) - 1)) as u64) * width;
    Duration::from_micros(low + width / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_within_a_sixteenth_of_the_exact_one(
            mut micros in proptest::collection::vec(200_u64..100_000_000, 1..200),
            share in 0.01_f64..1.0,
        ) {
            let mut histogram = Histogram::default();
            micros.iter().for_each(|micros| histogram.add(Duration::from_micros(*micros)));
            micros.sort_unstable();
            let rank = (share * micros.len() as f64).ceil() as usize;
            let exact = micros[rank.max(1) - 1] as f64;
            let found = histogram.percentile(share).unwrap().as_micros() as f64;
            prop_assert!((found - exact).abs() <= exact / 16.0 + 1.0, "{found} for {exact}");
        }
    }

    #[test]
    fn extremes_are_counted_too() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        histogram.add(Duration::ZERO);
        assert!(histogram.percentile(0.5).unwrap() < Duration::from_micros(128));
        histogram.add(Duration::MAX);
        assert!(histogram.percentile(1.0).unwrap() > Duration::from_secs(120));
    }

    #[test]
    fn subtracting_what_was_added_leaves_the_rest() {
        let mut one = Histogram::default();
        one.add(Duration::from_millis(5));
        let mut both = one.clone();
        both.add(Duration::from_secs(5));
        both.subtract(&one);
        assert!(both.percentile(0.01).unwrap() > Duration::from_secs(4));
    }
}
