//! What a router has written down and posts.

use std::time::SystemTime;

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::Amount;
use embermesh_proto::internal::v1::{self as wire, entry::Entry as Value};
use embermesh_types::AttemptId;

use super::{
    hit::Hit,
    ids::{LeaseId, SessionId},
    parse::{amount, attempt_id, optional, parse},
    reserve::Reserve,
    settlement::Settlement,
};

/// Entries of one tenant, in the router's order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Post {
    pub(crate) session: Option<SessionId>,
    /// Each with its position in the message.
    pub(crate) entries: Vec<(usize, Entry)>,
    /// Those that make no sense, whatever the books say.
    pub(crate) rejected: Vec<Rejected>,
}

/// One thing that a router did.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Out of leases.
    Reserved(Reserve),
    Settled(Settlement),
    /// An attempt whose end nobody knows, if it ever was reserved.
    Presumed(Attempted),
    Hit(Hit),
    Returned(Returned),
    Used(Used),
}

/// An attempt by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempted {
    pub(crate) attempt: AttemptId,
    pub(crate) created_at: SystemTime,
}

/// What a router will not spend of a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) lease: LeaseId,
    /// In all.
    pub(crate) amount: Amount,
    pub(crate) closes: bool,
}

/// What a router has used of the lease of a quota.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) lease: LeaseId,
    /// In all.
    pub(crate) amount: Amount,
    /// From 1, ascending.
    pub(crate) sequence: i64,
}

/// An entry that can never be booked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rejected {
    /// Its position in the message.
    pub(crate) entry: usize,
    pub(crate) why: Error,
}

impl Post {
    /// Takes apart what can be read, and says of each other entry why it cannot.
    pub(crate) fn parse(
        session: &str,
        entries: Vec<wire::Entry>,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let session = optional("session_id", session)?;
        let mut post = Self { session, entries: Vec::with_capacity(entries.len()), rejected: Vec::new() };
        for (at, entry) in entries.into_iter().enumerate() {
            match Entry::parse(entry, session, caller, now) {
                Ok(entry) => post.entries.push((at, entry)),
                Err(why) => {
                    let param = why.param.as_deref().unwrap_or_default();
                    tracing::error!(entry = at, param, error = %why, "a posted entry makes no sense");
                    post.rejected.push(Rejected { entry: at, why });
                }
            }
        }
        Ok(post)
    }
}

impl Entry {
    fn parse(
        message: wire::Entry,
        session: Option<SessionId>,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let nothing = || Error::invalid("entry", "say what was done");
        Ok(match message.entry.ok_or_else(nothing)? {
            Value::Reserved(message) => Self::Reserved(Reserve::parse_leased(message, session, caller, now)?),
            Value::Settled(message) => Self::Settled(Settlement::parse(message, caller)?),
            Value::PresumedAttemptId(id) => {
                let (attempt, created_at) = attempt_id(&id)?;
                Self::Presumed(Attempted { attempt, created_at })
            }
            Value::Hit(message) => Self::Hit(Hit::parse(message, caller, now)?),
            Value::Returned(message) => Self::Returned(Returned {
                lease: parse("lease_id", &message.lease_id)?,
                amount: amount("returned", message.returned)?,
                closes: message.closes,
            }),
            Value::Used(message) => Self::Used(Used {
                lease: parse("lease_id", &message.lease_id)?,
                amount: amount("used", message.used)?,
                sequence: message.sequence,
            }),
        })
    }
}
