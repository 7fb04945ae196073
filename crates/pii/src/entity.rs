//! The kinds of personal data that can be found.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of personal data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// An e-mail address.
    Email,
    /// A United States social security number that the SSA could have assigned.
    UsSsn,
    /// A telephone number.
    Phone,
    /// A payment card number: known issuer prefix, right length, right check digit.
    CreditCard,
    /// An operator's own pattern.
    Custom(EntityName),
}

/// The name of an operator's own entity: a lowercase letter, then up to 31 of `a-z0-9_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName(Arc<str>);

/// How much a detector's word is worth when two claim the same span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// An operator's regular expression.
    Pattern,
    /// Shape plus numbering plan or context word.
    Shape,
    /// A full grammar with impossible values refused.
    Grammar,
    /// A check digit.
    Checksum,
}

impl Entity {
    /// Every built-in entity.
    pub const BUILT_IN: [Self; 4] = [Self::Email, Self::UsSsn, Self::Phone, Self::CreditCard];

    /// The lowercase name, as in configuration, counts and metric labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email => "email",
            Self::UsSsn => "us_ssn",
            Self::Phone => "phone",
            Self::CreditCard => "credit_card",
            Self::Custom(name) => &name.0,
        }
    }

    /// What stands in a redacted text, e.g. `[EMAIL]`.
    #[must_use]
    pub fn placeholder(&self) -> Cow<'static, str> {
        match self {
            Self::Email => "[EMAIL]".into(),
            Self::UsSsn => "[SSN]".into(),
            Self::Phone => "[PHONE]".into(),
            Self::CreditCard => "[CREDIT_CARD]".into(),
            Self::Custom(name) => format!("[{}]", name.0.to_ascii_uppercase()).into(),
        }
    }

    /// The entity a name stands for; `ssn` is `us_ssn`. `None` when the name is no valid one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ssn" => Some(Self::UsSsn),
            _ => Self::BUILT_IN
                .into_iter()
                .find(|entity| entity.as_str() == name)
                .or_else(|| EntityName::from_str(name).ok().map(Self::Custom)),
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Entity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Entity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(InvalidName(name)))
    }
}

/// A name that no entity may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entity name `{0}` must be a lowercase letter followed by at most 31 of a-z, 0-9 and _")]
pub struct InvalidName(String);

impl InvalidName {
    pub(crate) fn of(name: &str) -> Self {
        Self(name.chars().take(40).collect())
    }
}

impl FromStr for EntityName {
    type Err = InvalidName;

    // The first letter matters beyond taste: it keeps digits of a placeholder from ever being read as a number.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let valid = name.len() <= 32
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid { Ok(Self(name.into())) } else { Err(InvalidName(name.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_ssn_is_an_alias() {
        for entity in Entity::BUILT_IN {
            assert_eq!(Entity::named(entity.as_str()), Some(entity));
        }
        assert_eq!(Entity::named("ssn"), Some(Entity::UsSsn));
        assert_eq!(Entity::named("badge_7").unwrap().placeholder(), "[BADGE_7]");
        for bad in ["", "7up", "Badge", "a b", "ünï", "a]", &"a".repeat(33)] {
            assert_eq!(Entity::named(bad), None, "{bad}");
        }
    }
}
