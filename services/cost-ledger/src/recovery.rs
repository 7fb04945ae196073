//! After the books were brought back to an earlier time: budgets are closed, leases presumed, and what routers have on disk is booked
//! again. A person says when all of them have told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use embermesh_config::Config;
use embermesh_errors::Error;
use embermesh_postgres::{Database, DbError, Role, Schema};
use embermesh_process::BoxError;
use embermesh_telemetry::Metrics;
use embermesh_types::Clock;
use prometheus::IntGauge;

pub use crate::store::Reconciled;
use crate::{
    run::{migrate, settings},
    service::StartError,
    store::{Store, failed},
};

/// Whether budgets are closed, as this replica last saw. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    store: Store,
    open: Arc<AtomicBool>,
    shown: IntGauge,
}

impl Recovery {
    /// Looks before anything is let in.
    pub(crate) async fn open(store: Store, metrics: &Metrics) -> Result<Self, StartError> {
        let help =
            "1 while budgets are closed, because the books were restored and nobody has reconciled them.";
        let shown = metrics.register(IntGauge::new("ledger_budgets_closed", help)?);
        let recovery = Self { store, open: Arc::default(), shown };
        recovery.note(recovery.store.is_recovering().await?);
        Ok(recovery)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Looks again.
    pub(crate) async fn look(&self) -> Result<bool, Error> {
        let open = self.store.is_recovering().await.map_err(|error| failed(&error))?;
        self.note(open);
        Ok(open)
    }

    fn note(&self, open: bool) {
        self.shown.set(open.into());
        match (self.open.swap(open, Ordering::Relaxed), open) {
            (false, true) => {
                tracing::warn!("the books were restored, budgets are closed until they are reconciled")
            }
            (true, false) => tracing::info!("the books are reconciled, budgets are open"),
            _ => {}
        }
    }
}

/// Closes the budgets of the books that the configuration names: they were brought back to what they were at `to`. Every lease of then is
/// presumed. No ledger may be at work on them.
///
/// # Errors
/// When the database cannot be reached or migrated.
pub async fn mark(config: &Config, to: SystemTime) -> Result<(), BoxError> {
    migrate(config).await?;
    Ok(store(config).await?.mark_recovered(to, Clock::system().now()).await?)
}

/// Opens them again: every router has told what it had on disk. `None`: they are open.
///
/// # Errors
/// When the database cannot be reached.
pub async fn reconcile(config: &Config) -> Result<Option<Reconciled>, BoxError> {
    Ok(store(config).await?.reconcile(Clock::system().now()).await?)
}

/// The books that the configuration names, without a server.
pub(crate) async fn store(config: &Config) -> Result<Store, BoxError> {
    let (url, pool) = (config.database.for_ledger()?, settings(config)?.pool);
    let connected: Result<Database, DbError> =
        Database::connect(&url, Schema::Ledger, Role::App, &pool).await;
    Ok(Store::new(connected?))
}
