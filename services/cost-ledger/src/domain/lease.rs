//! A lease as the books hold it. What remains of it is set aside in each of its accounts.

use embermesh_escrow::{Amount, Path};
use embermesh_types::NanoUsd;
use jiff::civil::Date;

use super::ids::{LeaseId, SessionId};

/// Whether its router is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    Open,
    /// The router is silent: what remains may be spent already, or not.
    Presumed,
    Closed,
}

impl LeaseState {
    const ALL: [Self; 3] = [Self::Open, Self::Presumed, Self::Closed];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Presumed => "presumed",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A lease, in what its path counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) session: SessionId,
    pub(crate) path: Path,
    pub(crate) day: Date,
    pub(crate) granted: i64,
    /// What its attempts were charged; of a quota, what is used.
    pub(crate) spent: i64,
    /// The bounds of its attempts that have no end yet.
    pub(crate) under_way: i64,
    /// What is free again.
    pub(crate) returned: i64,
    pub(crate) state: LeaseState,
    /// What its open attempts leave is free as they end.
    pub(crate) closing: bool,
    /// The last that was told of what is used of a quota.
    pub(crate) told: i64,
    /// Held when the books were brought back to an earlier time. What its attempts leave may have been spent in what was lost, so it is
    /// presumed for good, but for what its router says it has not spent.
    pub(crate) recovered: bool,
}

impl Lease {
    /// All of it.
    pub(crate) fn new(id: LeaseId, session: SessionId, path: Path, day: Date, granted: Amount) -> Self {
        let (state, closing) = (LeaseState::Open, false);
        Self {
            id,
            session,
            path,
            day,
            granted: granted.0,
            spent: 0,
            under_way: 0,
            returned: 0,
            state,
            closing,
            told: 0,
            recovered: false,
        }
    }

    /// Of one call that takes all of it, until it says that it took less.
    pub(crate) fn of_a_call(id: LeaseId, session: SessionId, path: Path, day: Date, granted: Amount) -> Self {
        let (state, closing) = (LeaseState::Closed, true);
        Self { spent: granted.0, state, closing, ..Self::new(id, session, path, day, granted) }
    }

    /// One that was granted in what was lost when the books were brought back. What it held is not known; what its attempts cost is booked.
    pub(crate) fn adopted(id: LeaseId, session: SessionId, path: Path, day: Date, granted: Amount) -> Self {
        let (state, closing, granted) = (LeaseState::Closed, true, Amount(granted.0.max(1)));
        Self { state, closing, ..Self::new(id, session, path, day, granted) }
    }

    /// What it holds of each of its accounts.
    pub(crate) const fn remaining(&self) -> i64 {
        let left = self.granted.saturating_sub(self.spent).saturating_sub(self.returned);
        if left < 0 || matches!(self.state, LeaseState::Closed) { 0 } else { left }
    }

    /// What counts as leased.
    pub(crate) const fn leased(&self) -> i64 {
        if matches!(self.state, LeaseState::Open) { self.remaining() } else { 0 }
    }

    /// What counts as presumed.
    pub(crate) const fn presumed(&self) -> i64 {
        if matches!(self.state, LeaseState::Presumed) { self.remaining() } else { 0 }
    }

    /// An attempt begins that may cost `bound`. It begins even if the lease has not so much, because its bytes have left.
    pub(crate) fn begin(&mut self, bound: NanoUsd) {
        self.under_way = self.under_way.saturating_add(bound.0);
    }

    /// What its attempts were charged or may yet cost beyond what it had.
    pub(crate) fn overdrawn(&self) -> i64 {
        let taken = self.spent.saturating_add(self.returned).saturating_add(self.under_way);
        taken.saturating_sub(self.granted).max(0)
    }

    /// An attempt that began ends at `amount`.
    pub(crate) fn end(&mut self, bound: NanoUsd, amount: NanoUsd) {
        self.under_way = self.under_way.saturating_sub(bound.0).max(0);
        self.spent = self.spent.saturating_add(amount.0);
        self.free_if_closing();
    }

    /// So much of a quota's lease is used, unless something later was told already. By how much that is more.
    pub(crate) fn use_up(&mut self, used: Amount, sequence: i64) -> i64 {
        if sequence <= self.told {
            return 0;
        }
        self.told = sequence;
        used.0 - std::mem::replace(&mut self.spent, used.0)
    }

    /// `returned` in all, whatever came before it, is not spent any more. What its attempts may yet cost stays.
    pub(crate) fn give_back(&mut self, returned: Amount) {
        self.returned = self.returned.max(returned.0.min(self.idle()));
    }

    /// Nobody draws from it any more.
    pub(crate) fn close(&mut self) {
        if self.recovered {
            return;
        }
        self.closing = true;
        self.free_if_closing();
    }

    /// Its router went silent.
    pub(crate) fn lose(&mut self) {
        if self.state == LeaseState::Open {
            self.state = LeaseState::Presumed;
        }
    }

    /// Its router is heard of again.
    pub(crate) fn find(&mut self) {
        if self.state == LeaseState::Presumed && !self.recovered {
            self.state = LeaseState::Open;
        }
    }

    /// What is neither spent nor under way.
    const fn idle(&self) -> i64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.under_way)
    }

    fn free_if_closing(&mut self) {
        if self.closing {
            self.returned = self.returned.max(self.idle());
            if self.under_way == 0 {
                self.state = LeaseState::Closed;
            }
        }
    }
}

#[cfg(test)]
mod tests;
