//! One ranking of two: by the vectors and by the words.

use embermesh_rank_fusion::fuse;

/// Rows that each ranking is asked for, so that one which is well placed in both is not missed because it leads in neither.
pub(crate) fn depth(limit: u32) -> u32 {
    limit.saturating_mul(3).clamp(50, 1_000)
}

/// A row that was found, and what both rankings together make of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranked<T> {
    /// The sum of 1 / (60 + rank).
    pub(crate) score: f64,
    pub(crate) item: T,
}

/// The rows of both rankings, each once, best first; of the same score in the order of their ids.
pub(crate) fn ranked<T>(by_vectors: Vec<T>, by_words: Vec<T>, id: impl Fn(&T) -> String) -> Vec<Ranked<T>> {
    let fused = fuse(vec![by_vectors, by_words], &id).into_iter();
    let mut ranked: Vec<_> = fused
        .filter_map(|one| Some(Ranked { score: one.score, item: one.places.into_iter().next()?.item }))
        .collect();
    ranked.sort_by_cached_key(|one| id(&one.item));
    // stable: equal scores stay in the order of their ids
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranking() -> impl Strategy<Value = Vec<u32>> {
        let all = Just((10_u32..30).collect::<Vec<_>>()).prop_shuffle();
        (all, 0_usize..21).prop_map(|(all, keep)| all[..keep.min(20)].to_vec())
    }

    fn of(by_vectors: &[u32], by_words: &[u32]) -> Vec<Ranked<u32>> {
        ranked(by_vectors.to_vec(), by_words.to_vec(), u32::to_string)
    }

    fn rank(ranking: &[u32], row: u32) -> Option<usize> {
        ranking.iter().position(|one| *one == row)
    }

    proptest! {
        #[test]
        fn every_row_once_with_the_score_of_its_ranks_in_the_order_of_score_and_id(a in ranking(), b in ranking()) {
            let fused = of(&a, &b);
            let mut rows: Vec<u32> = a.iter().chain(&b).copied().collect();
            rows.sort_unstable();
            rows.dedup();
            let mut found: Vec<u32> = fused.iter().map(|one| one.item).collect();
            found.sort_unstable();
            prop_assert_eq!(found, rows);
            for one in &fused {
                let ranks = [rank(&a, one.item), rank(&b, one.item)];
                let expected: f64 = ranks.into_iter().flatten().map(|rank| 1.0 / (61.0 + rank as f64)).sum();
                prop_assert!((one.score - expected).abs() < 1e-12);
            }
            prop_assert!(fused.is_sorted_by(|x, y| x.score > y.score || (x.score == y.score && x.item < y.item)));
        }

        #[test]
        fn it_does_not_matter_which_ranking_is_which(a in ranking(), b in ranking()) {
            prop_assert_eq!(of(&a, &b), of(&b, &a));
        }

        #[test]
        fn a_better_rank_never_lowers_a_score(a in ranking(), b in ranking(), at in 1_usize..20) {
            prop_assume!(at < a.len());
            let mut better = a.clone();
            better.swap(at, at - 1);
            let score = |fused: Vec<Ranked<u32>>| fused.into_iter().find(|one| one.item == a[at]).unwrap().score;
            prop_assert!(score(of(&better, &b)) > score(of(&a, &b)));
        }
    }

    #[test]
    fn each_ranking_is_asked_for_more_than_is_wanted() {
        for (limit, deep) in [(1, 50), (10, 50), (100, 300), (334, 1_000), (1_000, 1_000)] {
            assert_eq!(depth(limit), deep);
            assert!(depth(limit) >= limit);
        }
    }
}
