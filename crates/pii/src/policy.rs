//! What is looked for and what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Action, CustomPattern, Entity};

/// Raised whenever the detectors find more, less or other spans than before, so that a policy's version says so.
const DETECTORS: &str = "2";

/// What a [`Scrubber`](crate::Scrubber) enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For every entity without an action of its own. [`Action::Off`] switches everything off.
    pub action: Action,
    /// The entities that are looked for; custom ones need a pattern.
    pub entities: BTreeSet<Entity>,
    /// Actions of single entities.
    pub overrides: BTreeMap<Entity, Action>,
    /// Operators' patterns, for custom entities or in addition to a built-in detector.
    pub custom: Vec<CustomPattern>,
}

/// Why a policy cannot be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A regular expression that does not compile, is too large or matches nothing at all.
    #[error("pii pattern `{name}` cannot be used: {reason}")]
    BadPattern {
        /// The entity it is for.
        name: Entity,
        /// What is wrong and where.
        reason: String,
    },
    /// A name that no entity may have.
    #[error("pii pattern name `{0}` must be a lowercase letter followed by at most 31 of a-z, 0-9 and _")]
    BadName(String),
    /// An entity that is neither built in nor has a pattern.
    #[error("unknown pii entity `{0}`, use email, us_ssn, phone, credit_card or add a pattern of that name")]
    UnknownEntity(Entity),
}

impl Policy {
    /// One action for every built-in entity.
    #[must_use]
    pub fn built_in(action: Action) -> Self {
        Self { action, entities: Entity::BUILT_IN.into(), overrides: BTreeMap::new(), custom: Vec::new() }
    }

    /// Looks for nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::built_in(Action::Off)
    }

    /// The same with another action, as an agent's own configuration may ask.
    #[must_use]
    pub fn with_action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// The same for these entities alone.
    #[must_use]
    pub fn only(mut self, entities: impl IntoIterator<Item = Entity>) -> Self {
        self.entities = entities.into_iter().collect();
        self
    }

    /// What is done about `entity`.
    #[must_use]
    pub fn action_for(&self, entity: &Entity) -> Action {
        if self.action == Action::Off || !self.entities.contains(entity) {
            return Action::Off;
        }
        self.overrides.get(entity).copied().unwrap_or(self.action)
    }

    /// A short id of the policy's content and of the detectors: equal for equal treatment, across processes and
    /// releases. Texts are comparable only under one version.
    #[must_use]
    pub fn version(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            // length first, so that no two lists of fields run into the same bytes
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field(DETECTORS);
        for entity in self.entities.iter().filter(|entity| self.action_for(entity) != Action::Off) {
            field(entity.as_str());
            field(self.action_for(entity).as_str());
            let patterns: BTreeSet<&str> =
                self.custom.iter().filter(|c| c.entity == *entity).map(|c| c.regex.as_str()).collect();
            field(&patterns.len().to_string());
            patterns.into_iter().for_each(&mut field);
        }
        format!("pii-{}", &hasher.finalize().to_hex()[..12])
    }

    /// Custom entities without a pattern are mistakes, not wishes.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let named = self.entities.iter().chain(self.overrides.keys());
        for entity in named.filter(|entity| matches!(entity, Entity::Custom(_))) {
            if !self.custom.iter().any(|pattern| pattern.entity == *entity) {
                return Err(PolicyError::UnknownEntity(entity.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn badge(regex: &str) -> CustomPattern {
        CustomPattern { entity: Entity::named("badge").unwrap(), regex: regex.to_owned() }
    }

    #[test]
    fn version_follows_treatment_and_nothing_else() {
        let redact = Policy::built_in(Action::Redact);
        assert_eq!(redact.version(), Policy::built_in(Action::Redact).version());
        assert_eq!(redact.version().len(), "pii-".len() + 12);

        let mut same = redact.clone();
        same.overrides.insert(Entity::Email, Action::Redact);
        same.custom.push(badge("unused"));
        assert_eq!(same.version(), redact.version());

        let mut reject_email = redact.clone();
        reject_email.overrides.insert(Entity::Email, Action::Reject);
        let with = |regex| {
            let mut policy = redact.clone();
            policy.entities.insert(badge("").entity);
            policy.custom.push(badge(regex));
            policy
        };
        let versions: BTreeSet<_> = [
            redact.clone(),
            redact.clone().with_action(Action::Detect),
            redact.clone().with_action(Action::Reject),
            Policy::off(),
            redact.clone().only([Entity::Email]),
            reject_email,
            with("a"),
            with("b"),
        ]
        .iter()
        .map(Policy::version)
        .collect();
        assert_eq!(versions.len(), 8);
    }

    #[test]
    fn version_of_the_default_policy_is_stable() {
        // a change here re-embeds the world: raise DETECTORS knowingly, then write the new value down
        assert_eq!(Policy::built_in(Action::Redact).version(), "pii-800ca94a59e3");
    }

    #[test]
    fn off_overrules_an_override() {
        let mut policy = Policy::off();
        policy.overrides.insert(Entity::Email, Action::Reject);
        assert_eq!(policy.action_for(&Entity::Email), Action::Off);
    }

    #[test]
    fn an_entity_without_a_detector_is_refused() {
        let policy = Policy::built_in(Action::Redact).only([badge("").entity]);
        assert_eq!(policy.check(), Err(PolicyError::UnknownEntity(badge("").entity)));
    }
}
