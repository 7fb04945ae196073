//! A slice of the budgets of one path, or of a quota, for one UTC day.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use embermesh_escrow::{Amount, Period, Pocket, midnight};
use embermesh_proto::internal::v1::{Entry, QuotaUse, entry::Entry as Value};
use embermesh_types::TenantId;
use jiff::civil::Date;

/// A lease in this process's hands.
#[derive(Debug)]
pub(crate) struct Lease {
    /// A UUID.
    pub id: String,
    pub tenant: TenantId,
    /// The day that pays, YYYY-MM-DD.
    pub day: String,
    from: SystemTime,
    until: SystemTime,
    pub pocket: Pocket,
    /// Of a quota: what is used, and how often that was told.
    told: Mutex<(i64, i64)>,
}

/// What is set aside out of a lease.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub lease: Arc<Lease>,
    pub amount: Amount,
}

impl Lease {
    /// `None`: `day` is no day.
    pub fn new(id: String, tenant: TenantId, day: String, granted: Amount) -> Option<Self> {
        let date: Date = day.parse().ok()?;
        let (from, until) = (midnight(date), Period::Day.end(date));
        Some(Self { id, tenant, day, from, until, pocket: Pocket::new(granted), told: Mutex::default() })
    }

    /// Of a quota: so much more is used, or less; returns what to tell of it.
    pub fn count(&self, more: i64) -> Entry {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.0 = told.0.saturating_add(more);
        told.1 += 1;
        let used = QuotaUse { lease_id: self.id.clone(), used: told.0, sequence: told.1 };
        Entry { entry: Some(Value::Used(used)) }
    }

    /// Whether its day is that of `now`.
    pub fn is_of(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether its day is over.
    pub fn is_past(&self, now: SystemTime) -> bool {
        self.until <= now
    }

    /// Less than half of it is left.
    pub fn runs_short(&self) -> bool {
        self.pocket.available().0.saturating_mul(2) < self.pocket.granted().0
    }
}
