//! The router as a process of its own.

use axum::Router;
use embermesh_process::{BoxError, Process};
use embermesh_transport::{Endpoint, Ops, ServerBuilder, Transport};

use crate::{Parts, ProviderRouter};

/// Port on loopback when none is configured.
pub const DEFAULT_PORT: u16 = 8082;

/// The router's parts from its process and the services behind it.
pub fn parts(process: &Process, ledger: Transport, admin: Transport, store: Transport) -> Parts {
    Parts {
        tasks: process.tasks.clone(),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        clock: process.clock.clone(),
        ledger,
        admin,
        store,
    }
}

/// Builds the router's port: its services, health and metrics.
pub async fn run(process: &Process) -> Result<Router, BoxError> {
    let (config, tasks) = (&process.config, &process.tasks);
    let tls = config.server.tls.as_ref();
    let ledger = Endpoint::parse(&config.services.ledger)?.connect(tls, tasks)?;
    let admin = Endpoint::parse(&config.services.admin)?.connect(tls, tasks)?;
    let store = Endpoint::parse(&config.services.store)?.connect(tls, tasks)?;
    process.follow_settings(admin.clone());
    let parts = parts(process, ledger, admin, store);
    let router = ProviderRouter::start(config, parts).await?;
    let services = ServerBuilder::new(process.grpc_metrics.clone())
        .service(router.router_server())
        .service(router.operations_server())
        .service(process.debug_server());
    let ops = Ops { readiness: process.readiness.clone(), metrics: process.metrics.clone() };
    Ok(services.router(embermesh_proto::DESCRIPTORS).await?.merge(ops.router()))
}
