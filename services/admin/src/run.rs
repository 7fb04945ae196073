//! The control plane as a process of its own.

use axum::Router;
use embermesh_config::{Config, ConfigError};
use embermesh_postgres::Schema;
use embermesh_process::{BoxError, Process};
use embermesh_transport::{Ops, ServerBuilder, in_process};

use crate::{
    AdminService, FirstStart, Parts, Settings,
    domain::{provider, tuning},
    store,
};

/// Port on loopback when none is configured.
pub const DEFAULT_PORT: u16 = 8085;

/// The settings of admin; its pool is `database.pool` unless it has its own.
pub fn settings(config: &Config) -> Result<Settings, ConfigError> {
    let mut settings: Settings = config.service("admin", &config.admin)?;
    if !config.admin.contains_key("pool") {
        settings.pool = config.database.pool.clone();
    }
    settings.file = tuning::of_file(config);
    settings.data_dir.clone_from(&config.data_dir);
    settings.security.clone_from(&config.embedding.security);
    let providers = config.embedding.all_providers();
    settings.file_providers =
        providers.iter().map(|(name, entry)| (name.clone(), provider::of_file(name, entry))).collect();
    Ok(settings)
}

/// Brings the schema to the version of this build, as every start does, and nothing else. The migrations that were missing.
pub async fn migrate(config: &Config) -> Result<Vec<String>, BoxError> {
    let url = config.database.for_admin()?;
    Ok(embermesh_postgres::migrate(&url, Schema::Admin, &store::MIGRATIONS).await?)
}

/// The parts of admin from its process.
pub fn parts(process: &Process) -> Result<Parts, ConfigError> {
    Ok(Parts {
        database_url: process.config.database.for_admin()?,
        tasks: process.tasks.clone(),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        clock: process.clock.clone(),
    })
}

/// Builds the port of admin: its services, health and metrics. The first start writes the first keys to `keys.json` in the data
/// folder, if there is one.
pub async fn run(process: &Process) -> Result<Router, BoxError> {
    let admin = AdminService::start(settings(&process.config)?, parts(process)?).await?;
    process.follow_settings(in_process(admin.config_server(), &process.grpc_metrics));
    if let Some(dir) = &process.config.data_dir {
        let file = dir.join("keys.json");
        if let FirstStart::Created(_) = admin.ensure_first_keys(&process.config.public_url(), &file).await? {
            tracing::info!(file = %file.display(), "the first keys are written");
        }
    }
    let services = ServerBuilder::new(process.grpc_metrics.clone())
        .service(admin.agents_server())
        .service(admin.keys_server())
        .service(admin.catalog_server())
        .service(admin.budgets_server())
        .service(admin.tenants_server())
        .service(admin.policies_server())
        .service(admin.providers_server())
        .service(admin.audit_server())
        .service(admin.key_use_server())
        .service(admin.settings_server())
        .service(admin.api_calls_server())
        .service(admin.config_server())
        .service(process.debug_server());
    let ops = Ops { readiness: process.readiness.clone(), metrics: process.metrics.clone() };
    Ok(services.router(embermesh_proto::DESCRIPTORS).await?.merge(ops.router()))
}
