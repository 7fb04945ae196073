//! A slice of the budgets of one path, for one UTC day.

use std::{sync::Arc, time::SystemTime};

use embermesh_escrow::{Period, Pocket, midnight};
use embermesh_types::{NanoUsd, TenantId};
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
}

/// Money set aside out of a lease.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub lease: Arc<Lease>,
    pub amount: NanoUsd,
}

impl Lease {
    /// `None`: `day` is no day.
    pub fn new(id: String, tenant: TenantId, day: String, granted: NanoUsd) -> Option<Self> {
        let date: Date = day.parse().ok()?;
        let (from, until) = (midnight(date), Period::Day.end(date));
        Some(Self { id, tenant, day, from, until, pocket: Pocket::new(granted) })
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
