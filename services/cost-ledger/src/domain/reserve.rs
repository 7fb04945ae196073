//! Money to set aside for a call to a provider.

use std::time::{Duration, SystemTime};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::{Path, Period, day_of, midnight};
use embermesh_proto::internal::v1 as wire;
use embermesh_types::{AttemptId, NanoUsd, SpaceId};
use jiff::civil::Date;

use super::{
    ids::SessionId,
    parse::{age, attempt_id, day, label, money, optional, parse},
    part::Part,
};

/// How far a router's clock may be from this one's.
const SKEW: Duration = Duration::from_secs(24 * 3600);
/// How old what a journal tells may be: whatever the day, there is a partition for it.
pub(crate) const OLDEST: Duration = Duration::from_secs(28 * 24 * 3600);

/// An attempt to begin.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    pub(crate) attempt: AttemptId,
    pub(crate) created_at: SystemTime,
    /// At least one.
    pub(crate) parts: Vec<Part>,
    pub(crate) provider: String,
    pub(crate) deployment: String,
    pub(crate) model: String,
    pub(crate) space: SpaceId,
    pub(crate) price: NanoUsd,
    pub(crate) session: Option<SessionId>,
    /// Of one that its router has reserved by itself.
    pub(crate) leased: Option<Leased>,
    /// Whether the caller waits for leases to be called back, rather than be refused.
    pub(crate) may_wait: bool,
}

/// When a router reserved by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leased {
    /// On `day`.
    pub(crate) at: SystemTime,
    pub(crate) day: Date,
}

impl Reserve {
    /// One to be decided now.
    pub(crate) fn parse(
        message: wire::ReserveRequest,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let reserve = Self::read(message, caller)?;
        if age(reserve.created_at, now) > SKEW {
            let message = "the time in the id is more than a day from the ledger's, check the clocks";
            return Err(Error::invalid("attempt_id", message));
        }
        if let Some(at) = reserve.parts.iter().position(|part| part.lease.is_some()) {
            let message = "what comes out of a lease is posted, not reserved";
            return Err(Error::invalid(format!("parts[{at}].lease_id"), message));
        }
        Ok(reserve)
    }

    /// One that was decided by its router, out of leases.
    pub(crate) fn parse_leased(
        message: wire::LeasedAttempt,
        session: Option<SessionId>,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let reserve = message.reserve.ok_or_else(|| Error::invalid("reserve", "say what was reserved"))?;
        let mut reserve = Self::read(reserve, caller)?;
        reserve.session = reserve.session.or(session);
        let at = message.reserved_at.and_then(|time| SystemTime::try_from(time).ok());
        let at = at.ok_or_else(|| Error::invalid("reserved_at", "say when it was reserved"))?;
        for (param, time) in [("attempt_id", reserve.created_at), ("reserved_at", at)] {
            known_time(param, time, now)?;
        }
        let day = day("day", &message.day)?;
        if age(midnight(day), at) > 2 * SKEW {
            return Err(Error::invalid("day", "the day is not that of reserved_at"));
        }
        if let Some(at) = reserve.parts.iter().position(|p| p.lease.is_none() && p.amount > NanoUsd::ZERO) {
            let message = "name the lease that the amount comes from";
            return Err(Error::invalid(format!("parts[{at}].lease_id"), message));
        }
        // the clocks of two machines agree on no midnight, and a report of a day is to be what that day's budgets paid
        let last = Period::Day.end(day) - Duration::from_micros(1);
        reserve.leased = Some(Leased { at: at.clamp(midnight(day), last), day });
        Ok(reserve)
    }

    fn read(message: wire::ReserveRequest, caller: &Principal) -> Result<Self, Error> {
        let (attempt, created_at) = attempt_id(&message.attempt_id)?;
        if message.parts.is_empty() {
            return Err(Error::invalid("parts", "name at least one request"));
        }
        let parts = message.parts.into_iter().enumerate();
        let parts = parts.map(|(at, part)| Part::parse(at, part, caller)).collect::<Result<Vec<_>, _>>()?;
        if !adds_up(&parts) {
            return Err(Error::invalid("parts", "the parts' bounds are too large to add up"));
        }
        Ok(Self {
            attempt,
            created_at,
            parts,
            provider: label("provider", message.provider)?,
            deployment: label("deployment", message.deployment)?,
            model: label("model", message.model)?,
            space: parse("space_id", &message.space_id)?,
            price: money("price_per_million_nano_usd", message.price_per_million_nano_usd)?,
            session: optional("session_id", &message.session_id)?,
            leased: None,
            may_wait: false,
        })
    }

    /// The day that pays.
    pub(crate) fn day(&self, now: SystemTime) -> Date {
        self.leased.map_or_else(|| day_of(now), |leased| leased.day)
    }

    /// When it was reserved.
    pub(crate) fn reserved_at(&self, now: SystemTime) -> SystemTime {
        self.leased.map_or(now, |leased| leased.at)
    }

    /// Who pays for a part.
    pub(crate) fn path(&self, part: &Part) -> Path {
        part.path(&self.provider)
    }
}

/// Refuses what lies where there may be no partition.
pub(crate) fn known_time(param: &str, time: SystemTime, now: SystemTime) -> Result<(), Error> {
    let recent = now.duration_since(time).map_or_else(|early| early.duration() <= SKEW, |age| age <= OLDEST);
    if recent { Ok(()) } else { Err(Error::invalid(param, "it is of more than 28 days ago, or of tomorrow")) }
}

/// Whether the sums of the parts can be written down.
fn adds_up(parts: &[Part]) -> bool {
    let sum = |of: fn(&Part) -> i64| parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(of(part)));
    let inputs = parts.iter().try_fold(0_i32, |sum, part| sum.checked_add(part.inputs));
    sum(|part| part.amount.0).is_some() && sum(|part| part.tokens_bound).is_some() && inputs.is_some()
}
