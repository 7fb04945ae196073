//! Building the ledger from its parts.

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, DbError, Role, Schema, migrate};
use embermesh_proto::{internal::v1::ledger_server::LedgerServer, v1::reports_server::ReportsServer};
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::MAX_MESSAGE_BYTES;
use embermesh_types::Clock;
use secrecy::SecretString;

use crate::{
    Handler, Settings,
    domain::period::day_of,
    metrics::LedgerMetrics,
    partitions,
    store::{MIGRATIONS, Store},
    sweeper,
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
    pub(crate) subscription: Subscription,
    pub(crate) clock: Clock,
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
        let metrics = LedgerMetrics::new(&metrics)?;
        let desk = Desk::new(store.clone(), subscription.clone(), clock.clone(), metrics, settings.batch);
        let writer = Writer::new(desk, settings.queue, tasks.clone());
        let shared = Arc::new(Shared { settings, store, writer, subscription, clock });
        tasks.spawn("ledger sweeper", sweeper::run(Arc::clone(&shared), tasks.clone()));
        tasks.spawn("ledger partitions", partitions::run(Arc::clone(&shared), tasks.clone()));
        let stopping = tasks.clone();
        tasks.spawn("ledger pool", async move {
            tokio::select! {
                () = database.maintain() => {}
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

    /// What was spent, for everybody who may ask.
    pub fn reports_server(&self) -> ReportsServer<Handler> {
        let server = ReportsServer::new(Handler::new(Arc::clone(&self.0)));
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Charges every attempt that has been open for too long at its bound; returns how many. A task does this all the time.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn presume_overdue(&self) -> Result<usize, Error> {
        sweeper::sweep(&self.0).await
    }
}
