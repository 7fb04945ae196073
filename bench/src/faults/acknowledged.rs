//! What clients were told that their requests cost, against the charges of these requests.

use std::collections::HashMap;

use super::{findings::Findings, request::Answered};

/// A client was told a cost that the ledger does not know.
pub const UNBOOKED: &str = "answers whose cost is not in the books";

/// The charges of one request, in nano-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Of attempts that were settled.
    pub settled: i64,
    /// Of attempts that were presumed.
    pub presumed: i64,
    /// Cache hits.
    pub hits: i64,
}

/// Compares; also how many answers that cost nothing have no charge. (A router notes hits together, after the answer: it may die before.)
#[must_use]
pub fn compare(answered: &[Answered], charges: &HashMap<String, Charged>) -> (usize, Findings) {
    let (mut unbooked_hits, mut findings) = (0, Findings::default());
    for answer in answered {
        let charged = charges.get(&answer.request).copied().unwrap_or_default();
        let cost = answer.cost.0;
        // an attempt of it may have been presumed, at more than it cost
        let enough = charged.presumed > 0 && charged.settled + charged.presumed >= cost;
        if charged.settled != cost && !enough {
            findings.note(UNBOOKED, format_args!("{answer:?} {charged:?}"));
        }
        if cost == 0 && charged == Charged::default() {
            unbooked_hits += 1;
        }
    }
    (unbooked_hits, findings)
}

#[cfg(test)]
mod tests {
    use embermesh_types::NanoUsd;

    use super::*;

    #[test]
    fn an_answer_is_booked_at_its_cost_or_presumed_at_more() {
        let answered = |request: &str, cost| Answered { request: request.to_owned(), cost: NanoUsd(cost) };
        let charged = |settled, presumed, hits| Charged { settled, presumed, hits };
        let charges: HashMap<String, Charged> = [
            ("exact", charged(60, 0, 0)),
            ("presumed", charged(0, 400, 0)),
            ("after another", charged(60, 400, 0)),
            ("less", charged(40, 0, 0)),
            ("more", charged(80, 0, 0)),
            ("hit", charged(0, 0, 1)),
        ]
        .map(|(request, charged)| (request.to_owned(), charged))
        .into();
        let good = [
            answered("exact", 60),
            answered("presumed", 60),
            answered("after another", 60),
            answered("hit", 0),
        ];
        assert_eq!(compare(&good, &charges), (0, Findings::default()));
        let (unbooked_hits, findings) = compare(
            &[answered("less", 60), answered("more", 60), answered("absent", 60), answered("no hit", 0)],
            &charges,
        );
        assert_eq!((unbooked_hits, findings.count(UNBOOKED)), (1, 3), "{findings}");
    }
}
