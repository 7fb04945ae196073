//! The embedding space: what makes two vectors comparable.

use std::{
    fmt::{self, Write},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// Why a text is not a space id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a space id, expected family@dimensions such as openai/text-embedding-3-small@1536")]
pub struct SpaceError(pub String);

/// Names one embedding space, for example `openai/text-embedding-3-small@1536`: the family of models (with its revision, where
/// there are several) that give identical vectors, and their length. Vectors of different spaces are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpaceId {
    id: Arc<str>,
    dimensions: u32,
}

impl SpaceId {
    /// Longest vector that a space may have.
    pub const MAX_DIMENSIONS: u32 = 16_000;

    /// The space of `family`, of `revision` when it is not empty, at `dimensions`.
    pub fn new(family: &str, revision: &str, dimensions: u32) -> Result<Self, SpaceError> {
        let mut id = String::with_capacity(family.len() + revision.len() + 12);
        id.push_str(family);
        if !revision.is_empty() {
            id.push(':');
            id.push_str(revision);
        }
        let named = is_name(&id);
        // writing to a string cannot fail
        let _ = write!(id, "@{dimensions}");
        if named && (1..=Self::MAX_DIMENSIONS).contains(&dimensions) {
            return Ok(Self { id: id.into(), dimensions });
        }
        Err(SpaceError(id.chars().take(300).collect()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// Length of its vectors.
    pub const fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// The id without the dimensions.
    pub fn family(&self) -> &str {
        self.id.rsplit_once('@').map_or("", |(family, _)| family)
    }
}

fn is_name(family: &str) -> bool {
    (1..=200).contains(&family.len()) && family.bytes().all(|b| b.is_ascii_graphic())
}

impl FromStr for SpaceId {
    type Err = SpaceError;

    fn from_str(text: &str) -> Result<Self, SpaceError> {
        let error = || SpaceError(text.chars().take(300).collect());
        let (family, dimensions) = text.rsplit_once('@').ok_or_else(error)?;
        let canonical = dimensions.bytes().all(|b| b.is_ascii_digit()) && !dimensions.starts_with('0');
        let dimensions =
            dimensions.parse().ok().filter(|d| canonical && (1..=Self::MAX_DIMENSIONS).contains(d));
        match dimensions {
            Some(dimensions) if is_name(family) => Ok(Self { id: text.into(), dimensions }),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for SpaceId {
    type Error = SpaceError;

    fn try_from(text: String) -> Result<Self, SpaceError> {
        text.parse()
    }
}

impl From<SpaceId> for String {
    fn from(space: SpaceId) -> Self {
        space.id.as_ref().to_owned()
    }
}

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_a_family_and_a_length() {
        let space: SpaceId = "openai/text-embedding-3-small@1536".parse().unwrap();
        assert_eq!((space.family(), space.dimensions()), ("openai/text-embedding-3-small", 1536));
        assert_eq!(SpaceId::new("local/x", "2", 384).unwrap().as_str(), "local/x:2@384");
        for bad in ["", "x", "x@", "@384", "x@0", "x@0384", "x@+5", "x@16001", "a b@3", "x@384 "] {
            assert!(bad.parse::<SpaceId>().is_err(), "{bad:?}");
        }
    }
}
