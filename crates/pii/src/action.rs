//! What a policy does with what it finds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What happens to a text that holds personal data. Ordered by severity: where two findings overlap, the severer wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Do not look.
    Off,
    /// Look and count, leave the text as it is. For rolling a policy out.
    Detect,
    /// Replace with a typed placeholder.
    #[default]
    Redact,
    /// Refuse the whole text.
    Reject,
}

/// A word that names no [`Action`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown pii action `{0}`, use off, detect, redact or reject")]
pub struct UnknownAction(String);

impl Action {
    /// The lowercase name, as in configuration and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Detect => "detect",
            Self::Redact => "redact",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Detect, Self::Redact, Self::Reject]
            .into_iter()
            .find(|action| action.as_str() == word)
            .ok_or_else(|| UnknownAction(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_others_are_refused() {
        for action in [Action::Off, Action::Detect, Action::Redact, Action::Reject] {
            assert_eq!(action.as_str().parse(), Ok(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert!("Redact".parse::<Action>().is_err());
    }
}
