//! Rows that are older than their tenant keeps them.
//!
//! How long that is comes from admin alone and is kept on no disk: while admin was not heard since the start, nothing is deleted.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use embermesh_postgres::DbError;
use embermesh_subscription::Subscription;

use crate::store::Store;

/// Between two looks at all tenants, while nothing is changed.
const PAUSE: Duration = Duration::from_secs(15 * 60);

/// What is known of tenants, and when their rows were last looked at.
#[derive(Debug)]
pub(crate) struct Retention {
    tenants: Subscription,
    /// When, and by which version of the configuration.
    looked: Mutex<Option<(Instant, i64)>>,
}

impl Retention {
    /// As tenants are told of.
    pub(crate) const fn new(tenants: Subscription) -> Self {
        Self { tenants, looked: Mutex::new(None) }
    }

    /// Deletes what is too old, unless that was done a moment ago.
    pub(crate) async fn enforce_sometimes(&self, store: &Store) -> Result<(), DbError> {
        let Some(known) = self.tenants.known() else { return Ok(()) };
        let due = {
            let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            looked.is_none_or(|(at, version)| at.elapsed() >= PAUSE || version != known.version)
        };
        if due { self.enforce(store).await } else { Ok(()) }
    }

    /// Deletes what is too old. A tenant whose rows cannot be deleted does not keep the others waiting; the first failure is returned.
    pub(crate) async fn enforce(&self, store: &Store) -> Result<(), DbError> {
        let (snapshot, mut outcome) = (self.tenants.current(), Ok(()));
        let Some(right) = store.may_delete_expired().await? else { return Ok(()) };
        for (tenant, days) in snapshot.retention() {
            let Some(before) = store.now().checked_sub(Duration::from_secs(u64::from(days) * 24 * 3600))
            else {
                continue;
            };
            match store.delete_older(tenant, before).await {
                Ok(0) => {}
                Ok(rows) => {
                    tracing::info!(%tenant, retention_days = days, rows, "rows are past their retention")
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        right.rollback().await?;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), snapshot.version));
        outcome
    }
}
