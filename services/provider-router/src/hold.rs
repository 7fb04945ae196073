//! What is set aside for one attempt, until the attempt has its end. One that is dropped without an end is presumed: nobody knows then
//! what was sent.

use std::sync::Arc;

use embermesh_proto::internal::v1::{Entry, SettleRequest, entry::Entry as Value};
use embermesh_types::{AttemptId, NanoUsd, TenantId};

use crate::{
    journal::Kept,
    leases::{Drawn, Leases},
};

/// Money set aside for an attempt.
#[derive(Debug)]
pub(crate) struct Hold {
    pub attempt: AttemptId,
    tenant: TenantId,
    /// Absent where no journal is kept: the ledger's own sweep ends what nobody ends.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    leases: Arc<Leases>,
    /// Of each part; absent for what costs nothing, and for all parts when the ledger has reserved.
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
        Self { attempt, tenant, written: Some(Written { leases, drawn, _kept: kept }) }
    }

    /// Of an attempt that only the ledger knows.
    pub const fn unwritten(attempt: AttemptId, tenant: TenantId) -> Self {
        Self { attempt, tenant, written: None }
    }

    /// Ends the attempt in the journal, and gives back what it did not take. Where there is none, the settlement comes back: the ledger
    /// has to be told.
    pub fn settle(&mut self, settlement: SettleRequest) -> Option<SettleRequest> {
        let Some(written) = self.written.take() else { return Some(settlement) };
        let spent: Vec<NanoUsd> =
            settlement.charges.iter().map(|charge| NanoUsd(charge.amount_nano_usd)).collect();
        // first the record: what is back in the lease may be returned at once
        let entry = Entry { entry: Some(Value::Settled(settlement)) };
        written.leases.journal.put_one(self.tenant, entry);
        written.end(|at, _| spent.get(at).copied().unwrap_or_default());
        None
    }

    /// Has the attempt charged at its bound, if it was reserved: nobody knows its end.
    pub fn presume(&mut self) {
        let Some(written) = self.written.take() else { return };
        let entry = Entry { entry: Some(Value::PresumedAttemptId(self.attempt.to_string())) };
        written.leases.journal.put_one(self.tenant, entry);
        written.end(|_, amount| amount);
    }

    /// Nothing was set aside after all.
    pub fn forget(&mut self) {
        if let Some(written) = self.written.take() {
            written.end(|_, _| NanoUsd::ZERO);
        }
    }
}

impl Written {
    fn end(&self, spent: impl Fn(usize, NanoUsd) -> NanoUsd) {
        for (at, drawn) in self.drawn.iter().enumerate() {
            if let Some(drawn) = drawn {
                self.leases.end(drawn, spent(at, drawn.amount));
            }
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
