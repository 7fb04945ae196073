//! What is set aside for one attempt, until the attempt has its end. One that is dropped without an end is presumed: nobody knows then
//! what was sent.

use std::sync::Arc;

use embermesh_escrow::Amount;
use embermesh_proto::internal::v1::{Entry, SettleRequest, entry::Entry as Value};
use embermesh_types::{AttemptId, TenantId};

use crate::{
    journal::Kept,
    leases::{Drawn, Leases},
    quotas::Taken,
};

/// Money set aside for an attempt.
#[derive(Debug)]
pub(crate) struct Hold {
    pub attempt: AttemptId,
    tenant: TenantId,
    /// Absent where no journal is kept: the ledger's own sweep ends what nobody ends.
    written: Option<Written>,
    /// Of the tenant's tokens, by part, where they are limited.
    tokens: Vec<Option<Taken>>,
}

#[derive(Debug)]
struct Written {
    leases: Arc<Leases>,
    /// Of each part; absent for what costs nothing. Of no part when the ledger has reserved.
    drawn: Vec<Option<Drawn>>,
    _kept: Kept,
}

impl Hold {
    /// Of an attempt that is in the journal, with what was drawn for each of its parts.
    pub fn written(
        attempt: AttemptId,
        tenant: TenantId,
        leases: Arc<Leases>,
        drawn: Vec<Option<Drawn>>,
        kept: Kept,
    ) -> Self {
        let written = Some(Written { leases, drawn, _kept: kept });
        Self { attempt, tenant, written, tokens: Vec::new() }
    }

    /// Of an attempt that only the ledger knows.
    pub const fn unwritten(attempt: AttemptId, tenant: TenantId) -> Self {
        Self { attempt, tenant, written: None, tokens: Vec::new() }
    }

    /// With what was taken of the tenant's tokens for each part.
    pub fn hold_tokens(&mut self, tokens: Vec<Option<Taken>>) {
        self.tokens = tokens;
    }

    /// Ends the attempt in the journal, and gives back what it did not take. Where there is none, the settlement comes back: the ledger
    /// has to be told.
    pub fn settle(&mut self, settlement: SettleRequest) -> Option<SettleRequest> {
        for (at, taken) in self.tokens.drain(..).enumerate() {
            if let Some(taken) = taken {
                taken.end(settlement.charges.get(at).map_or(0, |charge| charge.tokens));
            }
        }
        let Some(written) = self.written.take() else { return Some(settlement) };
        let spent: Vec<Amount> =
            settlement.charges.iter().map(|charge| Amount(charge.amount_nano_usd)).collect();
        // first the record: what is back in the lease may be returned at once
        let entry = Entry { entry: Some(Value::Settled(settlement)) };
        written.leases.journal.put_one(self.tenant, entry);
        written.end(|at, _| spent.get(at).copied().unwrap_or_default());
        None
    }

    /// Has the attempt charged at its bound, if it was reserved: nobody knows its end.
    pub fn presume(&mut self) {
        // what is dropped counts as used
        self.tokens.clear();
        let Some(written) = self.written.take() else { return };
        let entry = Entry { entry: Some(Value::PresumedAttemptId(self.attempt.to_string())) };
        written.leases.journal.put_one(self.tenant, entry);
        written.end(|_, amount| amount);
    }

    /// Nothing was set aside after all.
    pub fn forget(&mut self) {
        self.tokens.drain(..).flatten().for_each(|taken| taken.end(0));
        if let Some(written) = self.written.take() {
            written.end(|_, _| Amount::ZERO);
        }
    }
}

impl Written {
    fn end(&self, spent: impl Fn(usize, Amount) -> Amount) {
        for (at, drawn) in self.drawn.iter().enumerate() {
            if let Some(drawn) = drawn {
                self.leases.end(drawn, spent(at, drawn.amount));
            }
        }
        if self.drawn.is_empty() {
            // the ledger has set it aside, and refuses others meanwhile who could have it
            self.leases.journal.hurry();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.written.is_some() {
            tracing::warn!(tenant = %self.tenant, attempt = %self.attempt, "an attempt was left without an end, it is charged at its bound");
            self.presume();
        }
    }
}
