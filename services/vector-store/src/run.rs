//! The vector store as a process of its own.

use axum::Router;
use embermesh_config::{Config, ConfigError};
use embermesh_postgres::Schema;
use embermesh_process::{BoxError, Process};
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Subscription};
use embermesh_transport::{Endpoint, Ops, ServerBuilder, Transport};

use crate::{Parts, Settings, VectorStore, store};

/// Port on loopback when none is configured.
pub const DEFAULT_PORT: u16 = 8084;

/// The store's settings; its pool is `database.pool` unless it has its own.
pub fn settings(config: &Config) -> Result<Settings, ConfigError> {
    let mut settings: Settings = config.service("store", &config.store)?;
    if !config.store.contains_key("pool") {
        settings.pool = config.database.pool.clone();
    }
    Ok(settings)
}

/// Brings the schema to the version of this build, as every start does, and nothing else. The migrations that were missing.
pub async fn migrate(config: &Config) -> Result<Vec<String>, BoxError> {
    let url = config.database.for_store()?;
    Ok(embermesh_postgres::migrate(&url, Schema::Store, store::MIGRATIONS).await?)
}

/// The store's parts from its process and admin, which tells how long tenants keep their rows.
pub fn parts(process: &Process, admin: Transport) -> Result<Parts, ConfigError> {
    let config = &process.config;
    let mut redis = config.redis.clone();
    redis.cache_strategies.embeddings.ttl.get_or_insert(config.embedding.router.cache_ttl);
    let options = Options {
        subscriber: "vector-store",
        condition: None,
        sections: vec![Section::Tenants],
        // rows are deleted by what admin says now, not by what it once said
        disk_copy: None,
    };
    Ok(Parts {
        database: config.database.for_store()?,
        replicas: config.database.read_replica_pool.set(),
        redis,
        tasks: process.tasks.clone(),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        clock: process.clock.clone(),
        tenants: Subscription::start(admin, options, &process.surroundings()),
    })
}

/// Builds the store's port: its services, health and metrics.
pub async fn run(process: &Process) -> Result<Router, BoxError> {
    let Config { services, server, .. } = &process.config;
    let admin = Endpoint::parse(&services.admin)?.connect(server.tls.as_ref(), &process.tasks)?;
    process.follow_settings(admin.clone());
    let store = VectorStore::start(settings(&process.config)?, parts(process, admin)?).await?;
    let services = ServerBuilder::new(process.grpc_metrics.clone())
        .service(store.store_server())
        .service(store.answers_server())
        .service(store.vector_cache_server())
        .service(store.throttle_server())
        .service(store.cache_jobs_server())
        .service(store.jobs_server())
        .service(store.migration_store_server())
        .service(process.debug_server());
    let ops = Ops { readiness: process.readiness.clone(), metrics: process.metrics.clone() };
    Ok(services.router(embermesh_proto::DESCRIPTORS).await?.merge(ops.router()))
}
