//! What callers ask of the books, and what they are told.

use embermesh_errors::Error;
use embermesh_escrow::Account;
use embermesh_types::TenantId;

use super::{
    ids::SessionId,
    lease_ask::{Grant, LeaseAsk},
    part::Refused,
    post::{Attempted, Post, Rejected},
    reserve::Reserve,
    settlement::Settlement,
};

/// An operation of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) tenant: TenantId,
    pub(crate) operation: Operation,
}

/// What to do.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Reserve(Reserve),
    Lease(LeaseAsk),
    Settle(Settlement),
    /// Nobody knows how it ended, or whether it has.
    Presume(Attempted),
    Post(Post),
    /// Of the tenant's leases of a router's process.
    Session(SessionId, Fate),
}

impl Operation {
    /// Says whether it waits for leases to be called back, rather than be refused.
    pub(crate) const fn let_wait(&mut self, may_wait: bool) {
        match self {
            Self::Reserve(reserve) => reserve.may_wait = may_wait,
            Self::Lease(LeaseAsk { call: Some(call), .. }) => call.may_wait = may_wait,
            _ => {}
        }
    }
}

/// What has become of a router's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Silent for too long.
    Lost,
    /// Heard of again.
    Found,
    /// Done, and has posted everything.
    Closed,
}

/// What one operation came to.
pub(crate) type Outcome = Result<Answer, Error>;

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Done,
    /// The parts that were left out. With all of them left out nothing was written.
    Reserved(Vec<Refused>),
    /// Nothing was written: there is no room, but there would be if the leases of these accounts were called back.
    Waits(Vec<Account>),
    Leased(Grant),
    /// What cannot be booked; all else was.
    Posted(Vec<Rejected>),
}
