//! The ledger as a process of its own.

use axum::Router;
use embermesh_config::{Config, ConfigError};
use embermesh_postgres::Schema;
use embermesh_process::{BoxError, Process};
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Subscription};
use embermesh_transport::{Endpoint, Ops, ServerBuilder, Transport};

use crate::{CostLedger, Parts, Settings, store};

/// Port on loopback when none is configured.
pub const DEFAULT_PORT: u16 = 8083;

/// The ledger's settings; its pool is `database.pool` unless it has its own.
pub fn settings(config: &Config) -> Result<Settings, ConfigError> {
    let mut settings: Settings = config.service("ledger", &config.ledger)?;
    if !config.ledger.contains_key("pool") {
        settings.pool = config.database.pool.clone();
    }
    Ok(settings)
}

/// Brings the schema to the version of this build, as every start does, and nothing else. The migrations that were missing.
pub async fn migrate(config: &Config) -> Result<Vec<String>, BoxError> {
    let url = config.database.for_ledger()?;
    Ok(embermesh_postgres::migrate(&url, Schema::Ledger, &store::MIGRATIONS).await?)
}

/// Makes the partitions of the months to come, as a running ledger does each day; returns how many were missing.
///
/// # Errors
/// When the database cannot be reached.
pub async fn make_partitions(config: &Config) -> Result<i32, BoxError> {
    let today = embermesh_escrow::day_of(embermesh_types::Clock::system().now());
    Ok(crate::recovery::store(config).await?.make_partitions(today).await?)
}

/// The ledger's parts from its process and admin, which tells the limits.
pub fn parts(process: &Process, admin: Transport) -> Result<Parts, ConfigError> {
    let options = Options {
        subscriber: "cost-ledger",
        condition: Some("ledger configuration"),
        sections: vec![Section::Agents, Section::Budgets, Section::Tenants],
        disk_copy: process.config.data_dir.as_ref().map(|dir| dir.join("cost-ledger.snapshot")),
    };
    Ok(Parts {
        database_url: process.config.database.for_ledger()?,
        subscription: Subscription::start(admin, options, &process.surroundings()),
        tasks: process.tasks.clone(),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        clock: process.clock.clone(),
    })
}

/// Builds the ledger's port: its services, health and metrics.
pub async fn run(process: &Process) -> Result<Router, BoxError> {
    let (config, tasks) = (&process.config, &process.tasks);
    let admin = Endpoint::parse(&config.services.admin)?.connect(config.server.tls.as_ref(), tasks)?;
    process.follow_settings(admin.clone());
    let ledger = CostLedger::start(settings(config)?, parts(process, admin)?).await?;
    let services = ServerBuilder::new(process.grpc_metrics.clone())
        .service(ledger.ledger_server())
        .service(ledger.reports_server())
        .service(process.debug_server());
    let ops = Ops { readiness: process.readiness.clone(), metrics: process.metrics.clone() };
    Ok(services.router(embermesh_proto::DESCRIPTORS).await?.merge(ops.router()))
}
