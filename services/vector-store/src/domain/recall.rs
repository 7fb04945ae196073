//! Whether searches find what they should, from a sample of them.

/// The rows that a search is judged by.
pub(crate) const NEAREST: i64 = 10;

/// How much more searches miss than those for rows of the graph: on the corpus of the search bench, 1.6 % to 0.7 %.
const FOREIGN: f64 = 2.0;

/// Searches of which it was counted how many of the nearest rows they found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// The part of the nearest rows that was found, over all searches.
    pub(crate) mean: f64,
    /// The standard error of that.
    pub(crate) error: f64,
}

impl Sample {
    /// Of the rows found by each search; more than [`NEAREST`], where several are equally near, count as all of them.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub(crate) fn of(found: &[i64]) -> Self {
        if found.is_empty() {
            return Self::default();
        }
        let count = found.len() as f64;
        let parts = || found.iter().map(|found| (*found).clamp(0, NEAREST) as f64 / NEAREST as f64);
        let mean = parts().sum::<f64>() / count;
        let variance = parts().map(|part| (part - mean).powi(2)).sum::<f64>() / count;
        Self { mean, error: (variance / count).sqrt() }
    }

    /// Whether the recall is as wanted, and not by the luck of the sample: less than one time in six. The sample is of rows that the graph
    /// holds, whose own links lead to what is near them; searches for anything else miss [`FOREIGN`] times as much.
    pub(crate) fn reaches(self, wanted: f64) -> bool {
        (1.0 - self.mean) * FOREIGN + self.error <= 1.0 - wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_taken_off() {
        let all = Sample::of(&[10, 12, 10, 10]);
        assert_eq!(all, Sample { mean: 1.0, error: 0.0 });
        assert!(all.reaches(0.999));
        let mixed = Sample::of(&[10, 8, 10, 8]);
        assert!((mixed.mean - 0.9).abs() < 1e-12 && (mixed.error - 0.05).abs() < 1e-12, "{mixed:?}");
        assert!(mixed.reaches(0.749) && !mixed.reaches(0.751));
        // the same recall is surer in a larger sample
        assert!(Sample::of(&[10, 8].repeat(200)).reaches(0.794));
        assert!(!Sample::of(&[]).reaches(0.1));
    }
}
