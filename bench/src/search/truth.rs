//! What an exact search in single precision finds.

use std::collections::HashSet;

use super::{K, corpus::Corpus};

/// For each query the rows nearest to it, of the first `rows`.
#[must_use]
pub fn nearest(corpus: &Corpus, rows: usize) -> Vec<HashSet<usize>> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = corpus.queries.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = corpus
            .queries
            .chunks(share)
            .map(|queries| {
                scope.spawn(move || queries.iter().map(|query| best(corpus, rows, query)).collect())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|_| Vec::new())).collect()
    })
}

fn best(corpus: &Corpus, rows: usize, query: &[f32]) -> HashSet<usize> {
    let mut scored: Vec<(f32, usize)> = (0..rows).map(|row| (dot(corpus.vector(row), query), row)).collect();
    let (nearest, ..) = scored.select_nth_unstable_by(K, |a, b| b.0.total_cmp(&a.0));
    nearest.iter().map(|(_, row)| *row).collect()
}

/// In lanes, so that it is vectorised.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    lanes.iter().sum()
}

/// The share of the true rows that were found.
#[must_use]
pub fn recall(truth: &[HashSet<usize>], found: &[Vec<usize>]) -> f64 {
    let same =
        truth.iter().zip(found).map(|(truth, found)| found.iter().filter(|row| truth.contains(row)).count());
    let (same, all) = (same.sum::<usize>(), truth.iter().map(HashSet::len).sum::<usize>());
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let share = same as f64 / all.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_found_and_counted() {
        let unit = |n: usize| {
            (0..384).map(|at| if at == n % 384 { 1.0 } else { 0.001 * n as f32 }).collect::<Vec<f32>>()
        };
        let corpus = Corpus {
            texts: (0..40).map(|n| n.to_string()).collect(),
            vectors: (0..40).flat_map(unit).collect(),
            queries: vec![unit(7), unit(9)],
        };
        let truth = nearest(&corpus, 40);
        assert!(truth[0].contains(&7) && truth[1].contains(&9), "{truth:?}");
        assert!(truth.iter().all(|rows| rows.len() == K));
        let exact: Vec<Vec<usize>> = truth.iter().map(|rows| rows.iter().copied().collect()).collect();
        assert_eq!(recall(&truth, &exact), 1.0);
        assert_eq!(recall(&truth, &[exact[0].clone(), Vec::new()]), 0.5);
    }
}
