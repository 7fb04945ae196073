//! A `pii_detection` block as words that nobody has checked: how it travels between services, and how a tenant gives it.

use std::collections::BTreeMap;

use crate::{Action, Entity, InvalidName, PiiConfig, PiiPattern, UnknownAction};

/// The words of a block.
#[derive(Clone, Debug)]
pub struct PiiWords<'a> {
    /// Whether to look at all.
    pub enabled: bool,
    /// For every entity that `actions` does not name.
    pub action: &'a str,
    /// What to look for; empty: all that is known.
    pub entities: &'a [String],
    /// Names and expressions.
    pub patterns: Vec<(&'a str, &'a str)>,
    /// Actions of single entities.
    pub actions: &'a BTreeMap<String, String>,
}

/// A word that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadWord {
    /// Where it stands, such as `entities[1]`.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl PiiWords<'_> {
    /// The block that they make; whether its patterns can be used is not looked at.
    ///
    /// # Errors
    /// [`BadWord`] for a name or an action that is none.
    pub fn read(&self) -> Result<PiiConfig, BadWord> {
        let entity = |field: String, name: &str| {
            let reason = || InvalidName::of(name).to_string();
            Entity::named(name).ok_or_else(|| BadWord { field, reason: reason() })
        };
        let action = |field: String, word: &str| {
            word.parse::<Action>()
                .map_err(|error: UnknownAction| BadWord { field, reason: error.to_string() })
        };
        let entities = self.entities.iter().enumerate();
        let entities = entities.map(|(at, name)| entity(format!("entities[{at}]"), name));
        let entities = match self.entities.is_empty() {
            true => None,
            false => Some(entities.collect::<Result<_, _>>()?),
        };
        let patterns = self.patterns.iter().enumerate().map(|(at, (name, regex))| {
            entity(format!("patterns[{at}]"), name)?;
            Ok(PiiPattern { name: (*name).to_owned(), regex: (*regex).to_owned() })
        });
        let actions = self.actions.iter().map(|(name, word)| {
            Ok((entity("actions".to_owned(), name)?, action(format!("actions.{name}"), word)?))
        });
        Ok(PiiConfig {
            enabled: self.enabled,
            action: action("action".to_owned(), self.action)?,
            entities,
            patterns: patterns.collect::<Result<_, _>>()?,
            actions: actions.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(
        action: &'a str,
        entities: &'a [String],
        pattern: &'a str,
        actions: &'a BTreeMap<String, String>,
    ) -> PiiWords<'a> {
        PiiWords { enabled: true, action, entities, patterns: vec![(pattern, "B[0-9]+")], actions }
    }

    #[test]
    fn words_make_a_block_or_are_refused_by_field() {
        let none = BTreeMap::new();
        let config = words("reject", &[], "badge", &none).read().unwrap();
        assert_eq!((config.action, config.entities, config.patterns.len()), (Action::Reject, None, 1));
        let one = ["email".to_owned()];
        let entities = words("off", &one, "badge", &none).read().unwrap().entities.unwrap();
        assert_eq!(entities, [Entity::Email].into());
        let field = |words: PiiWords<'_>| words.read().unwrap_err().field;
        assert_eq!(field(words("mask", &one, "badge", &none)), "action");
        assert_eq!(field(words("off", &["E-Mail".to_owned()], "badge", &none)), "entities[0]");
        assert_eq!(field(words("off", &one, "Badge", &none)), "patterns[0]");
        let wrong = [("email".to_owned(), "mask".to_owned())].into();
        assert_eq!(field(words("off", &one, "badge", &wrong)), "actions.email");
    }
}
