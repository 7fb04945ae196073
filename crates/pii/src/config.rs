//! The `pii_detection` block of the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Action, CustomPattern, Entity, Policy, PolicyError};

/// The patterns of the operations guide. A pattern that equals one of them asks for the built-in detector, which knows
/// what the expression cannot say. The phone pattern above all: it misses nearly every written phone number and takes
/// every long number for one.
const GUIDE: [(&str, &str); 3] = [
    ("ssn", r"\d{3}-\d{2}-\d{4}"),
    ("email", r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"),
    ("phone", r"\+?1?\d{10,14}"),
];

/// `pii_detection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PiiConfig {
    /// Whether to look at all.
    pub enabled: bool,
    /// For every entity that `actions` does not name.
    pub action: Action,
    /// Built-in entities to look for; all of them when absent. Those that `patterns` names are looked for besides.
    pub entities: Option<BTreeSet<Entity>>,
    /// Own patterns, or a built-in entity's name with the guide's pattern.
    pub patterns: Vec<PiiPattern>,
    /// Actions of single entities.
    pub actions: BTreeMap<Entity, Action>,
}

/// One entry of `patterns`, written `- name: 'regex'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PiiPattern {
    /// The entity.
    pub name: String,
    /// The expression.
    pub regex: String,
}

/// `embedding.security.pii_detection`: the switch, where [`PiiConfig`] has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PiiSwitch {
    /// Whether to look at all.
    pub enabled: bool,
    /// Whether to remove what is found; counts it only when false.
    pub redact_pii: bool,
}

impl Default for PiiSwitch {
    fn default() -> Self {
        Self { enabled: true, redact_pii: true }
    }
}

impl Default for PiiConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            action: Action::Redact,
            entities: None,
            patterns: Vec::new(),
            actions: BTreeMap::new(),
        }
    }
}

impl PiiConfig {
    /// The block with the switch applied: either may switch off; without `redact_pii` what would be redacted is only
    /// counted, while a rejection stays one.
    #[must_use]
    pub fn switched(mut self, switch: PiiSwitch) -> Self {
        self.enabled &= switch.enabled;
        if !switch.redact_pii {
            let all = self.actions.values_mut().chain([&mut self.action]);
            all.filter(|action| **action == Action::Redact).for_each(|action| *action = Action::Detect);
        }
        self
    }
}

impl PiiConfig {
    /// The policy of this block beside an installation's own: the installation's patterns are known to it too, and without `entities` it
    /// looks for what they find. Everything else of the installation's is not taken over.
    ///
    /// # Errors
    /// [`PolicyError`] when it cannot be enforced.
    pub fn beside(self, installation: &Policy) -> Result<Policy, PolicyError> {
        let mut policy = Policy::built_in(if self.enabled { self.action } else { Action::Off });
        policy.custom.clone_from(&installation.custom);
        match self.entities {
            Some(entities) => policy.entities = entities,
            None => policy.entities.extend(policy.custom.iter().map(|pattern| pattern.entity.clone())),
        }
        policy.overrides = self.actions;
        for pattern in self.patterns {
            let (entity, custom) = pattern.custom()?;
            policy.entities.insert(entity);
            policy.custom.extend(custom);
        }
        policy.check()?;
        for pattern in &policy.custom {
            pattern.compile()?;
        }
        Ok(policy)
    }

    /// Refuses patterns that can be slow on texts made for them. For a block that is not the operator's.
    ///
    /// # Errors
    /// [`PolicyError`] for the first that can.
    pub fn check_cost(&self) -> Result<(), PolicyError> {
        self.patterns.iter().try_for_each(|pattern| match pattern.clone().custom()? {
            (_, Some(custom)) => custom.check_cost(),
            (_, None) => Ok(()),
        })
    }
}

impl PiiPattern {
    /// The entity, and the pattern unless it asks for the entity's built-in detector.
    fn custom(self) -> Result<(Entity, Option<CustomPattern>), PolicyError> {
        let Self { name, regex } = self;
        let entity = Entity::named(&name).ok_or(PolicyError::BadName(name))?;
        let guide = |(known, printed): &(&str, &str)| {
            Entity::named(known).as_ref() == Some(&entity) && *printed == regex
        };
        let custom = !GUIDE.iter().any(guide);
        Ok((entity.clone(), custom.then_some(CustomPattern { entity, regex })))
    }
}

impl TryFrom<PiiConfig> for Policy {
    type Error = PolicyError;

    fn try_from(config: PiiConfig) -> Result<Self, PolicyError> {
        config.beside(&Self::off())
    }
}

impl Serialize for PiiPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.name, &self.regex)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for PiiPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneEntry;

        impl<'de> Visitor<'de> for OneEntry {
            type Value = PiiPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one entry `name: regex`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PiiPattern, A::Error> {
                let (name, regex) = map.next_entry()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::invalid_length(2, &self));
                }
                Ok(PiiPattern { name, regex })
            }
        }

        deserializer.deserialize_map(OneEntry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(value: serde_json::Value) -> Result<Policy, PolicyError> {
        serde_json::from_value::<PiiConfig>(value).unwrap().try_into()
    }

    #[test]
    fn the_guides_block_loads_as_printed_and_means_the_built_in_detectors() {
        let block = json!({
            "enabled": true,
            "patterns": [
                {"ssn": r"\d{3}-\d{2}-\d{4}"},
                {"email": r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"},
                {"phone": r"\+?1?\d{10,14}"},
            ],
            "action": "redact",
        });
        let config: PiiConfig = serde_json::from_value(block.clone()).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap()["patterns"], block["patterns"]);
        assert_eq!(Policy::try_from(config).unwrap(), Policy::built_in(Action::Redact));
    }

    #[test]
    fn other_patterns_add_to_a_built_in_or_make_a_new_entity() {
        let policy = policy(json!({
            "entities": ["email"],
            "patterns": [{"ssn": "SSN-[0-9]{9}"}, {"employee_id": "EMP[0-9]{5}"}],
            "actions": {"employee_id": "reject", "ssn": "detect"},
        }))
        .unwrap();
        let employee = Entity::named("employee_id").unwrap();
        assert_eq!(policy.entities, [Entity::Email, Entity::UsSsn, employee.clone()].into());
        assert_eq!(policy.custom.len(), 2);
        assert_eq!(policy.action_for(&employee), Action::Reject);
        assert_eq!(policy.action_for(&Entity::UsSsn), Action::Detect);
        assert_eq!(policy.action_for(&Entity::Phone), Action::Off);
    }

    #[test]
    fn the_switch_turns_off_or_down() {
        let config = PiiConfig { actions: [(Entity::Email, Action::Reject)].into(), ..PiiConfig::default() };
        let off = config.clone().switched(PiiSwitch { enabled: false, redact_pii: true });
        assert_eq!(Policy::try_from(off).unwrap().action, Action::Off);
        let down = Policy::try_from(config.clone().switched(PiiSwitch { enabled: true, redact_pii: false }))
            .unwrap();
        assert_eq!(down.action_for(&Entity::Phone), Action::Detect);
        assert_eq!(down.action_for(&Entity::Email), Action::Reject);
        assert_eq!(config.clone().switched(PiiSwitch::default()), config);
    }

    #[test]
    fn a_block_beside_an_installations_knows_its_patterns_and_takes_nothing_else() {
        let installation =
            policy(json!({"patterns": [{"badge": "B[0-9]+"}], "actions": {"email": "reject"}})).unwrap();
        let beside = |block: serde_json::Value| {
            serde_json::from_value::<PiiConfig>(block).unwrap().beside(&installation)
        };
        let badge = Entity::named("badge").unwrap();
        let all = beside(json!({"patterns": [{"staff": "S[0-9]+"}]})).unwrap();
        assert_eq!(all.action_for(&badge), Action::Redact);
        assert_eq!(all.action_for(&Entity::Email), Action::Redact);
        assert_eq!(all.action_for(&Entity::named("staff").unwrap()), Action::Redact);
        let some = beside(json!({"entities": ["email"]})).unwrap();
        assert_eq!((some.action_for(&badge), some.custom.len()), (Action::Off, 1));
        assert_eq!(beside(json!({"entities": ["badge"]})).unwrap().action_for(&badge), Action::Redact);
        assert!(matches!(beside(json!({"entities": ["staff"]})), Err(PolicyError::UnknownEntity(_))));
        assert_ne!(all.version(), installation.version());
    }

    #[test]
    fn mistakes_are_refused() {
        for block in [
            json!({"redact": true}),
            json!({"action": "mask"}),
            json!({"patterns": [{}]}),
            json!({"patterns": [{"a": "x", "b": "y"}]}),
            json!({"patterns": {"a": "x"}}),
            json!({"entities": ["E-Mail"]}),
            json!({"enabled": "maybe"}),
        ] {
            assert!(serde_json::from_value::<PiiConfig>(block.clone()).is_err(), "{block}");
        }
        assert_eq!(
            policy(json!({"patterns": [{"Bad Name": "x"}]})),
            Err(PolicyError::BadName("Bad Name".into()))
        );
        assert!(matches!(policy(json!({"entities": ["iban"]})), Err(PolicyError::UnknownEntity(_))));
        assert!(matches!(policy(json!({"patterns": [{"emp": "("}]})), Err(PolicyError::BadPattern { .. })));
    }
}
