//! Identifiers that cannot be mistaken for one another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::{Uuid, fmt::Hyphenated};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a UUID.
    #[error("{what} must be a UUID")]
    NotUuid {
        /// Which identifier.
        what: &'static str,
    },
    /// Empty or too long.
    #[error("{what} must have 1 to {max} characters, it has {len}")]
    Length {
        /// Which identifier.
        what: &'static str,
        /// Longest length allowed.
        max: usize,
        /// Length found.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} may hold only letters, digits, '.', '_', ':' and '-' of ASCII")]
    Character {
        /// Which identifier.
        what: &'static str,
    },
    /// A name with a meaning of its own.
    #[error("agent_id '{0}' is reserved, choose another")]
    Reserved(String),
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// As `to_string`, without the way through a formatter.
            pub fn text(self) -> String {
                self.0.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).to_owned()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(|_| IdError::NotUuid { what: $what })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A customer; everything stored belongs to exactly one.
    TenantId,
    "tenant_id"
);
uuid_id!(
    /// A stored row; UUIDv7, so that it sorts by time.
    EmbeddingId,
    "embedding_id"
);
uuid_id!(
    /// One call to a provider.
    AttemptId,
    "attempt_id"
);

impl AgentId {
    /// The agent of calls that Embermesh makes for itself.
    pub const SYSTEM: &str = "embermesh-system";
}

impl TenantId {
    /// Nobody's customer: probes and canaries of the routers are booked here, on the agent [`AgentId::SYSTEM`].
    pub const SYSTEM: Self = Self(uuid::Uuid::from_u128(0x656d_6265_726d_7000_8000_0000_0000_0001));
}

fn check(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > 255 {
        return Err(IdError::Length { what, max: 255, len: text.len() });
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-')) {
        return Err(IdError::Character { what });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// An agent of a tenant: 1-255 characters of `[A-Za-z0-9._:-]`. Needs no registration.
    AgentId
);
text_id!(
    /// The public part of an API key.
    KeyId
);
text_id!(
    /// A request, named by its caller (idempotency) or by the gateway; at most 255 printable ASCII characters.
    RequestId
);

impl AgentId {
    /// The agent of requests that name none.
    pub const DEFAULT: &'static str = "default";

    fn check(text: &str) -> Result<(), IdError> {
        check("agent_id", text)?;
        match text {
            "." | ".." | "other" => Err(IdError::Reserved(text.to_owned())),
            _ => Ok(()),
        }
    }
}

impl Default for AgentId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl KeyId {
    fn check(text: &str) -> Result<(), IdError> {
        check("key id", text)
    }
}

impl From<Uuid> for RequestId {
    fn from(uuid: Uuid) -> Self {
        Self((&*uuid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH])).into())
    }
}

impl RequestId {
    fn check(text: &str) -> Result<(), IdError> {
        if text.is_empty() || text.len() > 255 {
            return Err(IdError::Length { what: "request_id", max: 255, len: text.len() });
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(IdError::Character { what: "request_id" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_are_any_short_ascii_name() {
        for good in ["prod-agent", "a", "team:x.y_z-1", &"x".repeat(255)] {
            assert_eq!(good.parse::<AgentId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "other", "a b", "ä", "a/b", &"x".repeat(256)] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn request_ids_refuse_spaces_and_control_characters() {
        assert!("6f9c-1_(x)".parse::<RequestId>().is_ok());
        for bad in ["", "a b", "a\nb", "é"] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
    }
}
