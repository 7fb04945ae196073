//! What an account has spent and set aside in a period.

use embermesh_escrow::{Amount, Path, Period, Scope};
use jiff::civil::Date;

/// Names a balance of a tenant. The order is the one that everybody locks in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BalanceKey {
    pub(crate) scope: Scope,
    pub(crate) subject: String,
    pub(crate) period: Period,
    pub(crate) start: Date,
}

impl BalanceKey {
    pub(crate) fn new(path: &Path, scope: Scope, period: Period, day: Date) -> Self {
        Self { scope, subject: path.subject(scope).to_owned(), period, start: period.start(day) }
    }

    /// Every balance that a call on `day` counts in.
    pub(crate) fn all(path: &Path, day: Date) -> impl Iterator<Item = Self> {
        path.scopes()
            .iter()
            .flat_map(move |scope| Period::BOTH.map(|period| Self::new(path, *scope, period, day)))
    }
}

/// A balance, in what its account counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) spent: Amount,
    /// The bounds of open attempts that were reserved one by one.
    pub(crate) reserved: Amount,
    /// What remains of open leases.
    pub(crate) leased: Amount,
    /// What remains of leases whose router is silent.
    pub(crate) presumed: Amount,
}

impl Balance {
    /// All that counts against a limit.
    pub(crate) const fn used(&self) -> Amount {
        Amount(self.outside_leases().0.saturating_add(self.leased.0))
    }

    /// What counts against a limit and cannot be called back.
    pub(crate) const fn outside_leases(&self) -> Amount {
        Amount(self.spent.0.saturating_add(self.reserved.0).saturating_add(self.presumed.0))
    }

    /// Set aside, in whatever way.
    pub(crate) const fn set_aside(&self) -> Amount {
        Amount(self.reserved.0.saturating_add(self.leased.0).saturating_add(self.presumed.0))
    }
}

/// What to add to a balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) spent: i64,
    pub(crate) reserved: i64,
    pub(crate) leased: i64,
    pub(crate) presumed: i64,
    /// What was let in under `limit`.
    pub(crate) admitted: i64,
    pub(crate) limit: Option<i64>,
}

impl Delta {
    /// Whether nothing changes.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.spent == 0 && self.reserved == 0 && self.leased == 0 && self.presumed == 0 && self.admitted == 0
    }
}
