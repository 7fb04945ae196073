//! Which detectors run over a text, and what each claims.

use std::ops::Range;

use crate::custom::CompiledPattern;
use crate::digits::{self, Window};
use crate::entity::Strength;
use crate::normalise::View;
use crate::{Entity, card, email, gate, phone, ssn};

/// A span that one detector claims, in bytes of the original text.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) entity: Entity,
    pub(crate) strength: Strength,
    pub(crate) span: Range<usize>,
}

/// A detector that is handed groups of digits.
struct Numeric {
    entity: Entity,
    strength: Strength,
    find: fn(&Window<'_>) -> Option<Range<usize>>,
}

const NUMERIC: [Numeric; 3] = [
    Numeric { entity: Entity::CreditCard, strength: Strength::Checksum, find: card::find },
    Numeric { entity: Entity::UsSsn, strength: Strength::Grammar, find: ssn::find },
    Numeric { entity: Entity::Phone, strength: Strength::Shape, find: phone::find },
];

/// The detectors that a policy switches on.
pub(crate) struct Detectors {
    email: bool,
    numeric: Vec<&'static Numeric>,
    custom: Vec<CompiledPattern>,
}

impl Detectors {
    pub(crate) fn new(is_on: impl Fn(&Entity) -> bool, custom: Vec<CompiledPattern>) -> Self {
        let numeric = NUMERIC.iter().filter(|numeric| is_on(&numeric.entity)).collect();
        Self { email: is_on(&Entity::Email), numeric, custom }
    }

    /// Everything that is claimed, overlaps and all, in no particular order.
    pub(crate) fn candidates(&self, text: &str) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let built_in = (self.email || !self.numeric.is_empty()) && gate::may_hold_any(text);
        if !built_in && self.custom.is_empty() {
            return candidates;
        }
        let view = View::of(text);
        let mut claim = |entity: &Entity, strength, span| {
            candidates.push(Candidate { entity: entity.clone(), strength, span: view.to_original(span) });
        };
        if built_in && self.email {
            email::for_each(view.text(), |span| claim(&Entity::Email, Strength::Grammar, span));
        }
        if built_in && !self.numeric.is_empty() {
            digits::for_each_window(view.text(), |window| {
                for numeric in &self.numeric {
                    if let Some(span) = (numeric.find)(&window) {
                        claim(&numeric.entity, numeric.strength, span);
                    }
                }
            });
        }
        for pattern in &self.custom {
            pattern.for_each(view.text(), |span| claim(pattern.entity(), Strength::Pattern, span));
        }
        candidates
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Assertions on one entity alone.

    use crate::{Action, Entity, Outcome, Policy, Scrubber};

    fn values<'t>(entity: &Entity, text: &'t str) -> Vec<&'t str> {
        let policy = Policy::built_in(Action::Detect).only([entity.clone()]);
        match Scrubber::new(&policy).unwrap().scrub(text) {
            Outcome::Passed(scrubbed) => scrubbed.findings.iter().map(|f| &text[f.start..f.end]).collect(),
            Outcome::Rejected(rejection) => panic!("{rejection}"),
        }
    }

    /// `value` and nothing else is found.
    #[track_caller]
    pub(crate) fn found(entity: &Entity, text: &str, value: &str) {
        assert_eq!(values(entity, text), [value], "{text}");
    }

    /// Nothing is found.
    #[track_caller]
    pub(crate) fn none(entity: &Entity, text: &str) {
        assert_eq!(values(entity, text), [""; 0], "{text}");
    }
}
