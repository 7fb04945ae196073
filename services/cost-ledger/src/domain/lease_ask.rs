//! What a router asks for when it wants a lease, and what it gets.

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::Path;
use embermesh_proto::internal::v1 as wire;
use embermesh_types::NanoUsd;
use jiff::civil::Date;

use super::{
    ids::{LeaseId, SessionId},
    parse::{key_of, label, money, parse},
};

/// The most that is leased at once, however much is wanted: what a lost machine may cost a tenant without budgets.
const MOST: NanoUsd = NanoUsd(1_000_000_000_000);

/// A router would like a lease.
#[derive(Debug, Clone)]
pub(crate) struct LeaseAsk {
    pub(crate) lease: LeaseId,
    pub(crate) session: SessionId,
    pub(crate) path: Path,
    /// There is no use for less.
    pub(crate) least: NanoUsd,
    pub(crate) wanted: NanoUsd,
}

/// A lease, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Nothing: there is none.
    pub(crate) amount: NanoUsd,
    pub(crate) day: Date,
    /// When there is none: how long not to ask again.
    pub(crate) ask_again_ms: u32,
}

impl LeaseAsk {
    pub(crate) fn parse(message: wire::BudgetLeaseRequest, caller: &Principal) -> Result<Self, Error> {
        let least = money("least_nano_usd", message.least_nano_usd)?;
        let wanted = money("wanted_nano_usd", message.wanted_nano_usd)?;
        let path = Path {
            agent: parse("agent_id", &message.agent_id)?,
            key: key_of("key_id", &message.key_id, caller)?,
            provider: label("provider", message.provider)?,
        };
        Ok(Self {
            lease: parse("lease_id", &message.lease_id)?,
            session: parse("session_id", &message.session_id)?,
            path,
            least,
            wanted: wanted.max(least).min(MOST),
        })
    }
}
