//! What an operator last ordered about the circuit breaker of a deployment.

use embermesh_proto::internal::v1;

use crate::entry::BadEntry;

/// The last order about a deployment's breaker. Every router obeys it once, told by its number; one that starts later obeys it
/// too, except that a [`BreakerAction::Reset`] of the past asks nothing of a breaker that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOrder {
    /// What to do.
    pub action: BreakerAction,
    /// Another one means another order. It grows with every order about the deployment, unless the database was restored from a
    /// backup.
    pub number: i64,
}

/// What is ordered of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerAction {
    /// Close it and forget what it has seen; from then on it works by itself again.
    Reset,
    /// Let nothing through until it is reset.
    ForceOpen,
    /// Let everything through until it is reset.
    ForceClosed,
}

impl BreakerAction {
    /// Its name in the contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ForceOpen => "force_open",
            Self::ForceClosed => "force_closed",
        }
    }

    /// The action of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Reset, Self::ForceOpen, Self::ForceClosed].into_iter().find(|action| action.as_str() == name)
    }
}

impl BreakerOrder {
    /// Reads what admin sent.
    pub(crate) fn read(order: &v1::BreakerOrder) -> Result<Self, BadEntry> {
        let action =
            BreakerAction::named(&order.action).ok_or(BadEntry("a breaker order of an unknown action"))?;
        Ok(Self { action, number: order.number })
    }

    /// The message that [`Self::read`] reads.
    pub(crate) fn write(self, deployment: &str) -> v1::BreakerOrder {
        v1::BreakerOrder {
            deployment: deployment.to_owned(),
            action: self.action.as_str().to_owned(),
            number: self.number,
        }
    }
}
