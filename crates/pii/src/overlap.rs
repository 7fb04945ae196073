//! One span, one entity.
//!
//! The severer action wins, so that an entity that is only counted never shelters one that is to be removed; then the
//! longer span, then the stronger validator, then the earlier start.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::detect::Candidate;
use crate::{Action, Finding};

/// The findings that remain, in order of offset, none overlapping another.
pub(crate) fn resolve(mut candidates: Vec<(Candidate, Action)>) -> Vec<Finding> {
    candidates.sort_unstable_by_key(|(candidate, _)| (candidate.span.start, candidate.span.end));
    if candidates.windows(2).all(|pair| pair[0].0.span.end <= pair[1].0.span.start) {
        return candidates.into_iter().map(finding).collect();
    }
    candidates.sort_by_key(|(candidate, action)| {
        (Reverse(*action), Reverse(candidate.span.len()), Reverse(candidate.strength), candidate.span.start)
    });
    let mut kept: BTreeMap<usize, Finding> = BTreeMap::new();
    for candidate in candidates {
        let span = &candidate.0.span;
        // what is kept is disjoint, so only the last one that begins before the span's end can reach into it
        if kept.range(..span.end).next_back().is_none_or(|(_, before)| before.end <= span.start) {
            kept.insert(span.start, finding(candidate));
        }
    }
    kept.into_values().collect()
}

fn finding((candidate, action): (Candidate, Action)) -> Finding {
    Finding { entity: candidate.entity, action, start: candidate.span.start, end: candidate.span.end }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::Entity;
    use crate::entity::Strength;

    fn claim(entity: Entity, strength: Strength, span: Range<usize>, action: Action) -> (Candidate, Action) {
        (Candidate { entity, strength, span }, action)
    }

    fn spans(candidates: Vec<(Candidate, Action)>) -> Vec<(Entity, Range<usize>)> {
        resolve(candidates).into_iter().map(|f| (f.entity, f.start..f.end)).collect()
    }

    #[test]
    fn longest_wins_then_the_stronger_validator() {
        use Action::{Detect, Redact};
        use Entity::{CreditCard, Email, Phone, UsSsn};
        let all = vec![
            claim(Phone, Strength::Shape, 0..12, Redact),
            claim(Email, Strength::Grammar, 0..20, Redact),
            claim(Phone, Strength::Shape, 30..46, Redact),
            claim(CreditCard, Strength::Checksum, 30..46, Redact),
            claim(UsSsn, Strength::Grammar, 20..30, Redact),
        ];
        assert_eq!(spans(all), [(Email, 0..20), (UsSsn, 20..30), (CreditCard, 30..46)]);
        let counted = vec![
            claim(Email, Strength::Grammar, 0..20, Detect),
            claim(Phone, Strength::Shape, 0..12, Redact),
        ];
        assert_eq!(spans(counted), [(Phone, 0..12)]);
    }

    #[test]
    fn a_loser_in_the_middle_does_not_take_its_other_neighbour_along() {
        let chain =
            [0..10, 9..20, 19..40].map(|span| claim(Entity::Email, Strength::Grammar, span, Action::Redact));
        assert_eq!(spans(chain.into()), [(Entity::Email, 0..10), (Entity::Email, 19..40)]);
    }

    proptest! {
        #[test]
        fn what_remains_is_disjoint_and_touches_every_claim(claims in prop::collection::vec((0_usize..60, 1_usize..12), 0..40)) {
            let claims: Vec<_> = claims.into_iter().map(|(start, len)| start..start + len).collect();
            let candidates = claims.iter().map(|s| claim(Entity::Phone, Strength::Shape, s.clone(), Action::Redact)).collect();
            let kept = resolve(candidates);
            prop_assert!(kept.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for span in claims {
                prop_assert!(kept.iter().any(|f| f.start < span.end && span.start < f.end));
            }
        }
    }
}
