//! What a router asks for when it wants a lease, and what it gets.

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::{Amount, Path, Quota};
use embermesh_proto::internal::v1 as wire;
use jiff::civil::Date;

use super::{
    ids::{LeaseId, SessionId},
    parse::{amount, key_of, label, parse},
};

/// The most that is leased at once, however much is wanted: what a lost machine may cost a tenant without budgets.
const MOST: Amount = Amount(1_000_000_000_000);

/// A router would like a lease.
#[derive(Debug, Clone)]
pub(crate) struct LeaseAsk {
    pub(crate) lease: LeaseId,
    pub(crate) session: SessionId,
    pub(crate) path: Path,
    /// There is no use for less.
    pub(crate) least: Amount,
    pub(crate) wanted: Amount,
    /// Present: one call takes `least`, or is refused.
    pub(crate) call: Option<Call>,
}

/// A call that a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whether it waits for leases to be called back, rather than be refused.
    pub(crate) may_wait: bool,
}

/// A lease, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Nothing: there is none.
    pub(crate) amount: Amount,
    pub(crate) day: Date,
    /// When there is none: how long not to ask again.
    pub(crate) ask_again_ms: u32,
}

impl LeaseAsk {
    pub(crate) fn parse(message: wire::BudgetLeaseRequest, caller: &Principal) -> Result<Self, Error> {
        let least = amount("least_nano_usd", message.least_nano_usd)?;
        let wanted = amount("wanted_nano_usd", message.wanted_nano_usd)?;
        let path = Path::Money {
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
            call: None,
        })
    }

    /// Of a quota.
    pub(crate) fn parse_quota(message: &wire::QuotaLeaseRequest) -> Result<Self, Error> {
        let least = amount("least", message.least)?.max(Amount(1));
        let wanted = amount("wanted", message.wanted)?;
        let quota = Quota::parse(&message.quota);
        Ok(Self {
            lease: parse("lease_id", &message.lease_id)?,
            session: parse("session_id", &message.session_id)?,
            path: Path::Quota(quota.ok_or_else(|| Error::invalid("quota", "choose requests or tokens"))?),
            least,
            wanted: wanted.max(least).min(MOST),
            call: message.for_a_call.then_some(Call { may_wait: false }),
        })
    }
}
