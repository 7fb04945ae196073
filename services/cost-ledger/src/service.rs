//! Building the ledger from its parts.

use std::{sync::Arc, time::Duration};

use embermesh_errors::Error;
use embermesh_escrow::day_of;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, DbError, PoolMetrics, Role, Schema, migrate};
use embermesh_proto::{
    internal::v1::ledger_server::{Ledger, LedgerServer},
    v1::reports_server::ReportsServer,
};
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::MAX_MESSAGE_BYTES;
use embermesh_types::Clock;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::{
    Handler, Settings,
    alerts::{self, Alerts},
    backups::BackupMetrics,
    call_back::CallBack,
    metrics::LedgerMetrics,
    partitions,
    recovery::Recovery,
    sessions::{self, Sessions},
    store::{MIGRATIONS, Store},
    sweeper,
    waiting::Waiting,
    writer::{Desk, Writer},
};

/// What the ledger needs from its process.
#[derive(Debug)]
pub struct Parts {
    /// PostgreSQL; the user must be able to create the schema `ledger` or own it.
    pub database_url: SecretString,
    /// Agents and their limits.
    pub subscription: Subscription,
    /// For background tasks.
    pub tasks: Tasks,
    /// For the condition that the database is there.
    pub readiness: Readiness,
    /// For the metrics.
    pub metrics: Metrics,
    /// The time; its UTC days are the days of the budgets.
    pub clock: Clock,
}

/// Why the ledger cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database failed.
    #[error("cost ledger: {0}")]
    Database(#[from] DbError),
    /// A metric is named badly.
    #[error("cost ledger: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The running ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CostLedger(Arc<Shared>);

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) waiting: Waiting,
    pub(crate) call_back: CallBack,
    pub(crate) sessions: Sessions,
    pub(crate) recovery: Recovery,
    pub(crate) subscription: Subscription,
    pub(crate) clock: Clock,
    pub(crate) alerts: Alerts,
    /// Held while a tenant's books are recomputed.
    pub(crate) verifying: Mutex<()>,
}

impl CostLedger {
    /// Migrates the schema, makes the partitions, and starts to write.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let Parts { database_url, subscription, tasks, readiness, metrics, clock } = parts;
        let ready = readiness.condition("ledger database");
        migrate(&database_url, Schema::Ledger, &MIGRATIONS).await?;
        let database = Database::connect(&database_url, Schema::Ledger, Role::App, &settings.pool).await?;
        let store = Store::new(database.clone());
        store.make_partitions(day_of(clock.now())).await?;
        let alerts = Alerts::new(&metrics)?;
        let recovery = Recovery::open(store.clone(), &metrics).await?;
        let backups = BackupMetrics::new(&metrics)?;
        let pool = PoolMetrics::new(&metrics, Schema::Ledger)?;
        let metrics = LedgerMetrics::new(&metrics)?;
        let waiting = Waiting::default();
        let desk = Desk::new(
            store.clone(),
            subscription.clone(),
            clock.clone(),
            waiting.clone(),
            recovery.clone(),
            metrics,
            settings.batch,
        );
        let writer = Writer::new(desk, settings.queue, tasks.clone());
        let patience = Duration::from_millis(settings.call_back_ms);
        let call_back = CallBack::new(store.clone(), writer.clone(), waiting.clone(), patience);
        let sessions = Sessions::new(store.clone(), writer.clone(), clock.clone());
        let shared = Arc::new(Shared {
            settings,
            store,
            writer,
            waiting,
            call_back,
            sessions,
            recovery,
            subscription,
            clock,
            alerts,
            verifying: Mutex::default(),
        });
        tasks.spawn("ledger sweeper", sweeper::run(Arc::clone(&shared), tasks.clone()));
        tasks.spawn("ledger partitions", partitions::run(Arc::clone(&shared), tasks.clone()));
        tasks.spawn("ledger alerts", alerts::run(Arc::clone(&shared), tasks.clone()));
        tasks.spawn("ledger backups", backups.run(shared.store.clone(), shared.clock.clone(), tasks.clone()));
        let stopping = tasks.clone();
        tasks.spawn("ledger pool", async move {
            tokio::select! {
                () = database.maintain() => {}
                never = pool.watch(&database) => match never {},
                () = stopping.stopping() => {}
            }
        });
        ready.set(true);
        Ok(Self(shared))
    }

    /// Reservations and settlements, for the routers.
    pub fn ledger_server(&self) -> LedgerServer<Handler> {
        let server = LedgerServer::new(Handler::new(Arc::clone(&self.0)));
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The same for callers in this process.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(Handler::new(Arc::clone(&self.0)))
    }

    /// What was spent, for everybody who may ask.
    pub fn reports_server(&self) -> ReportsServer<Handler> {
        let server = ReportsServer::new(Handler::new(Arc::clone(&self.0)));
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Gives up every router that has been silent for too long, and charges every attempt that has been open for too long at its bound;
    /// returns how many attempts. A task does this all the time.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn presume_overdue(&self) -> Result<usize, Error> {
        let lost = self.0.clock.now().checked_sub(sessions::LOST_AFTER);
        sweeper::sweep(&self.0, lost).await
    }

    /// Looks at every limit and tells of the shares that were passed; returns how many were told. A task does this all the time.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn look_at_budgets(&self) -> Result<usize, Error> {
        alerts::look(&self.0).await
    }
}
