//! A policy at work on texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::detect::Detectors;
use crate::redact::{self, Masked, Placeholders};
use crate::{Action, Entity, Finding, Policy, PolicyError, Rejection, overlap};

/// Masks are looked at again this often before they are widened.
const PLAIN_ROUNDS: u32 = 4;

/// Finds and redacts as one policy says. Build once, share, use from any thread.
pub struct Scrubber {
    policy: Policy,
    version: String,
    detectors: Detectors,
    placeholders: Placeholders,
    has_custom: bool,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'t> {
    /// It may go on, redacted where the policy says so.
    Passed(Scrubbed<'t>),
    /// The policy refuses it.
    Rejected(Rejection),
}

/// A text that may go on.
#[derive(Clone, PartialEq, Eq)]
pub struct Scrubbed<'t> {
    /// The text, borrowed when nothing was redacted.
    pub text: Cow<'t, str>,
    /// What was found, in order of offset, none overlapping another; offsets are those of the text as it came.
    pub findings: Vec<Finding>,
}

impl Scrubbed<'_> {
    /// How often each entity was found.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Entity, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.entity.clone()).or_default() += 1;
        }
        counts
    }
}

/// Without the text: what passes may still be private.
impl fmt::Debug for Scrubbed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubbed").field("bytes", &self.text.len()).field("findings", &self.findings).finish()
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// Compiles a policy.
    ///
    /// # Errors
    /// When a custom pattern does not compile or is too large, or an entity has no detector.
    pub fn new(policy: &Policy) -> Result<Self, PolicyError> {
        policy.check()?;
        let is_on = |entity: &Entity| policy.action_for(entity) != Action::Off;
        // all are compiled, so that a mistake shows at load and not when the policy is switched on
        let compiled =
            policy.custom.iter().map(crate::CustomPattern::compile).collect::<Result<Vec<_>, _>>()?;
        let custom: Vec<_> = compiled.into_iter().filter(|pattern| is_on(pattern.entity())).collect();
        Ok(Self {
            version: policy.version(),
            placeholders: Placeholders::new(policy.entities.iter()),
            has_custom: !custom.is_empty(),
            detectors: Detectors::new(is_on, custom),
            policy: policy.clone(),
        })
    }

    /// The version of the policy, to be stored beside what is made from a scrubbed text.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The policy's action for entities without one of their own.
    #[must_use]
    pub fn action(&self) -> Action {
        self.policy.action
    }

    /// Scrubs one text. Idempotent: what comes out goes through again unchanged.
    #[must_use]
    pub fn scrub<'t>(&self, text: &'t str) -> Outcome<'t> {
        let mut findings = self.find(text);
        let text = match self.mask_until_settled(text, &mut findings) {
            Some(masked) => Cow::Owned(masked),
            None => Cow::Borrowed(text),
        };
        if findings.iter().any(|finding| finding.action == Action::Reject) {
            return Outcome::Rejected(Rejection { findings });
        }
        Outcome::Passed(Scrubbed { text, findings })
    }

    /// Findings in `text`, sorted and disjoint.
    fn find(&self, text: &str) -> Vec<Finding> {
        let mut candidates = self.detectors.candidates(text);
        if self.has_custom && !candidates.is_empty() {
            let placeholders = self.placeholders.spans(text);
            candidates.retain_mut(|candidate| {
                match redact::beyond_placeholders(candidate.span.clone(), &placeholders) {
                    Some(span) => {
                        candidate.span = span;
                        true
                    }
                    None => false,
                }
            });
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        let acted = candidates.into_iter().map(|candidate| {
            let action = self.policy.action_for(&candidate.entity);
            (candidate, action)
        });
        overlap::resolve(acted.collect())
    }

    /// Masks `findings` and looks again, since what stood against a number (`EMP-` before it) may itself have been
    /// masked, until nothing more is found. `None` when there is nothing to mask.
    ///
    /// The second look is nearly always the last. A text made for it (`EEEE…` against `E\b`) could uncover one
    /// match a look; from the fifth on, masks are widened twofold each time, so that the looks stay logarithmic.
    fn mask_until_settled(&self, original: &str, findings: &mut Vec<Finding>) -> Option<String> {
        for round in 0_u32.. {
            let masked = Masked::of(original, findings);
            if !masked.is_changed() {
                return None;
            }
            let mut fresh = self.find(&masked.text);
            fresh.retain(|finding| finding.action >= Action::Redact);
            if fresh.is_empty() {
                return Some(masked.text);
            }
            if round >= PLAIN_ROUNDS {
                let margin = 16_usize << (round - PLAIN_ROUNDS).min(40);
                self.widen(&masked.text, &mut fresh, margin);
            }
            for finding in &mut fresh {
                (finding.start, finding.end) = {
                    let span = masked.to_original(finding.start..finding.end);
                    (span.start, span.end)
                };
            }
            absorb(findings, fresh);
        }
        None
    }

    fn widen(&self, text: &str, findings: &mut Vec<Finding>, margin: usize) {
        let placeholders = self.placeholders.spans(text);
        for finding in findings.iter_mut() {
            let start = text.floor_char_boundary(finding.start.saturating_sub(margin));
            let end = text.ceil_char_boundary(finding.end.saturating_add(margin).min(text.len()));
            if let Some(span) = redact::beyond_placeholders(start..end, &placeholders) {
                (finding.start, finding.end) = (span.start, span.end);
            }
        }
        findings.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
                kept.action = kept.action.max(next.action);
            }
            overlaps
        });
    }
}

/// Adds `fresh` to `findings`; an older finding that a fresh one covers gives way, its severity stays.
fn absorb(findings: &mut Vec<Finding>, mut fresh: Vec<Finding>) {
    findings.retain(|old| {
        let index = fresh.partition_point(|new| new.end <= old.start);
        match fresh.get_mut(index).filter(|new| new.start < old.end) {
            Some(new) => {
                new.action = new.action.max(old.action);
                false
            }
            None => true,
        }
    });
    findings.append(&mut fresh);
    findings.sort_unstable_by_key(|finding| finding.start);
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod families;

#[cfg(test)]
mod properties;
