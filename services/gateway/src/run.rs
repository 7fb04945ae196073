//! The gateway as a process of its own.

use axum::Router;
use embermesh_config::{Config, ConfigError};
use embermesh_process::{BoxError, Process};
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Subscription};
use embermesh_transport::{Endpoint, Transport};

use crate::{Gateway, Parts, Settings};

/// Port on loopback when none is configured.
pub const DEFAULT_PORT: u16 = 8081;

/// The ways to the services behind the gateway.
#[derive(Debug, Clone)]
pub struct Services {
    /// provider-router.
    pub router: Transport,
    /// vector-store.
    pub store: Transport,
    /// cost-ledger.
    pub ledger: Transport,
    /// admin.
    pub admin: Transport,
}

/// The settings of the gateway; `pii_detection` and `server.metrics_allow` belong to it.
pub fn settings(config: &Config) -> Result<Settings, ConfigError> {
    let mut settings: Settings = config.service("gateway", &config.gateway)?;
    settings.pii = config.pii_detection.clone().switched(config.embedding.security.pii_detection);
    settings.metrics_allow.extend(&config.server.metrics_allow);
    settings.provider_health.clone_from(&config.redis.cache_strategies.provider_health);
    settings.data_dir.clone_from(&config.data_dir);
    Ok(settings)
}

/// The parts of the gateway from its process and the services behind it.
pub fn parts(process: &Process, services: Services) -> Parts {
    let options = Options {
        subscriber: "gateway",
        condition: Some("gateway configuration"),
        sections: vec![
            Section::Keys,
            Section::Agents,
            Section::Catalog,
            Section::Budgets,
            Section::Tenants,
            Section::Policies,
            Section::Settings,
        ],
        disk_copy: process.config.data_dir.as_ref().map(|dir| dir.join("gateway.snapshot")),
    };
    Parts {
        subscription: Subscription::start(services.admin.clone(), options, &process.surroundings()),
        router: services.router,
        store: services.store,
        ledger: services.ledger,
        admin: services.admin,
        tasks: process.tasks.clone(),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        grpc_metrics: process.grpc_metrics.clone(),
        clock: process.clock.clone(),
    }
}

/// Builds the port of the gateway, with the other services where the configuration says.
pub async fn run(process: &Process) -> Result<Router, BoxError> {
    let (config, tasks) = (&process.config, &process.tasks);
    let tls = config.server.tls.as_ref();
    let connect = |url: &str| Endpoint::parse(url).and_then(|endpoint| endpoint.connect(tls, tasks));
    let services = Services {
        router: connect(&config.services.router)?,
        store: connect(&config.services.store)?,
        ledger: connect(&config.services.ledger)?,
        admin: connect(&config.services.admin)?,
    };
    process.follow_settings(services.admin.clone());
    Ok(Gateway::start(&settings(config)?, parts(process, services)).await?.app())
}
