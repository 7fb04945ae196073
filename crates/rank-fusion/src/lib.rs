//! Reciprocal rank fusion: several rankings of documents become one. Only places count. What the rankings were made by, such as
//! distances of different spaces, means something else in each and is not even seen here.
//!
//! Cormack, Clarke, Büttcher: Reciprocal rank fusion outperforms Condorcet and individual rank learning methods (SIGIR 2009), whose 60
//! this uses: the first places of one ranking do not outweigh what several agree on.

use std::{collections::HashMap, hash::Hash};

const K: f64 = 60.0;

/// A document and its places.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<T> {
    /// The sum of 1 / (60 + rank).
    pub score: f64,
    /// Best first; of the same rank the one of the earlier ranking.
    pub places: Vec<Place<T>>,
}

/// Where a ranking has a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<T> {
    /// From 1.
    pub rank: u32,
    /// Which of the rankings.
    pub ranking: usize,
    /// What the ranking has there.
    pub item: T,
}

/// Fuses rankings, each best first, of items that are of the same document when `document` says the same of them. Documents of the same
/// score stand in the order of their best place.
pub fn fuse<T, D: Hash + Eq>(rankings: Vec<Vec<T>>, document: impl Fn(&T) -> D) -> Vec<Fused<T>> {
    let mut at: HashMap<D, usize> = HashMap::new();
    let mut fused: Vec<Fused<T>> = Vec::new();
    for (ranking, items) in rankings.into_iter().enumerate() {
        for (item, rank) in items.into_iter().zip(1..) {
            let of = *at.entry(document(&item)).or_insert_with(|| {
                fused.push(Fused { score: 0.0, places: Vec::new() });
                fused.len() - 1
            });
            fused[of].places.push(Place { rank, ranking, item });
        }
    }
    for one in &mut fused {
        one.places.sort_by_key(|place| (place.rank, place.ranking));
        let mut counted = Vec::new();
        for place in &one.places {
            // a ranking has one voice, however often it names a document
            if !counted.contains(&place.ranking) {
                counted.push(place.ranking);
                one.score += 1.0 / (K + f64::from(place.rank));
            }
        }
    }
    let best = |one: &Fused<T>| one.places.first().map(|place| (place.rank, place.ranking));
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| best(a).cmp(&best(b))));
    fused
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Rankings of a few documents, each at most once in a ranking.
    fn rankings() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let ranking = Just((0_u8..12).collect::<Vec<_>>()).prop_shuffle();
        vec((ranking, 0_usize..13), 0..5)
            .prop_map(|all| all.into_iter().map(|(ranking, keep)| ranking[..keep.min(12)].to_vec()).collect())
    }

    fn order(fused: &[Fused<u8>]) -> Vec<u8> {
        fused.iter().map(|one| one.places[0].item).collect()
    }

    fn rank_in(ranking: &[u8], document: u8) -> Option<usize> {
        ranking.iter().position(|one| *one == document)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(rankings in rankings()) {
            let fused = fuse(rankings.clone(), |document| *document);
            let mut places: Vec<(usize, u32, u8)> = fused
                .iter()
                .flat_map(|one| one.places.iter().map(|place| (place.ranking, place.rank, place.item)))
                .collect();
            places.sort_unstable();
            let given: Vec<(usize, u32, u8)> = rankings
                .iter()
                .enumerate()
                .flat_map(|(at, ranking)| ranking.iter().zip(1..).map(move |(document, rank)| (at, rank, *document)))
                .collect();
            prop_assert_eq!(places, given);
            let mut documents = order(&fused);
            documents.sort_unstable();
            documents.dedup();
            prop_assert_eq!(documents.len(), fused.len());
        }

        #[test]
        fn scores_are_of_the_ranks_and_fall(rankings in rankings()) {
            let fused = fuse(rankings.clone(), |document| *document);
            prop_assert!(fused.is_sorted_by(|a, b| a.score >= b.score));
            for one in &fused {
                let document = one.places[0].item;
                let ranks = rankings.iter().filter_map(|ranking| rank_in(ranking, document));
                let expected: f64 = ranks.map(|rank| 1.0 / (61.0 + rank as f64)).sum();
                prop_assert!((one.score - expected).abs() < 1e-12);
            }
        }

        #[test]
        fn one_ranking_stays_as_it_is(ranking in Just((0_u8..40).collect::<Vec<_>>()).prop_shuffle()) {
            prop_assert_eq!(order(&fuse(vec![ranking.clone()], |document| *document)), ranking);
        }

        #[test]
        fn what_is_before_another_in_every_ranking_is_before_it(rankings in rankings()) {
            let order = order(&fuse(rankings.clone(), |document| *document));
            for (a, b) in (0_u8..12).flat_map(|a| (0_u8..12).map(move |b| (a, b))).filter(|(a, b)| a != b) {
                let before = |ranking: &Vec<u8>| match (rank_in(ranking, a), rank_in(ranking, b)) {
                    (Some(a), Some(b)) => a < b,
                    (first, None) => first.is_some(),
                    (None, Some(_)) => false,
                };
                if !rankings.is_empty() && rankings.iter().all(before) {
                    let (a, b) = (rank_in(&order, a), rank_in(&order, b));
                    prop_assert!(a.is_some() && b.is_none_or(|b| a < Some(b)));
                }
            }
        }

        #[test]
        fn the_order_of_the_rankings_changes_no_score(rankings in rankings()) {
            let scores = |rankings: Vec<Vec<u8>>| {
                let fused = fuse(rankings, |document| *document);
                let mut scores: Vec<(u8, f64)> = fused.iter().map(|one| (one.places[0].item, one.score)).collect();
                scores.sort_by_key(|(document, _)| *document);
                scores
            };
            let backwards = rankings.iter().rev().cloned().collect();
            for (one, other) in scores(rankings).into_iter().zip(scores(backwards)) {
                prop_assert_eq!(one.0, other.0);
                prop_assert!((one.1 - other.1).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_two_spaces_agree_on_is_before_the_first_of_either() {
        let fused = fuse(vec![vec!["a", "both"], vec!["b", "c", "both"]], |document| *document);
        let documents: Vec<&str> = fused.iter().map(|one| one.places[0].item).collect();
        assert_eq!(documents, ["both", "a", "b", "c"]);
        let ranks: Vec<(usize, u32)> =
            fused[0].places.iter().map(|place| (place.ranking, place.rank)).collect();
        assert_eq!(ranks, [(0, 2), (1, 3)]);
    }

    #[test]
    fn a_ranking_that_names_a_document_twice_has_one_voice() {
        let fused = fuse(vec![vec!["a", "a"], vec!["b"]], |document| *document);
        assert_eq!((fused[0].score, fused[0].places.len()), (1.0 / 61.0, 2));
    }
}
