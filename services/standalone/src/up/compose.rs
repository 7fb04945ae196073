//! The composition root of the one process: every service, and in-process transports between them.

use std::path::Path;

use axum::Router;
use embermesh_admin::{AdminService, FirstStart};
use embermesh_cost_ledger::CostLedger;
use embermesh_gateway::{Gateway, Services};
use embermesh_process::{BoxError, Process};
use embermesh_proto::internal::v1::{
    api_calls_server::ApiCallsServer, ledger_server::LedgerServer, router_server::RouterServer,
};
use embermesh_provider_router::ProviderRouter;
use embermesh_transport::InProcess;
use embermesh_vector_store::VectorStore;

/// All services, composed.
#[derive(Debug)]
pub struct Composed {
    /// What the one port serves.
    pub app: Router,
    /// Whether the first keys were made just now.
    pub first: FirstStart,
}

/// Builds every service of `process`, in the order in which they need one another. The first keys are in `keys` before anybody
/// can be asked for them.
pub async fn compose(process: &Process, keys: &Path) -> Result<Composed, BoxError> {
    let config = &process.config;
    let in_process = || InProcess::new(process.grpc_metrics.clone());

    let admin =
        AdminService::start(embermesh_admin::settings(config)?, embermesh_admin::parts(process)?).await?;
    let first = admin.ensure_first_keys(&config.public_url(), keys).await?;
    let to_admin = in_process()
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
        .direct::<ApiCallsServer<()>, _>(admin.api_calls())
        .service(admin.config_server())
        .service(process.debug_server())
        .transport();
    process.follow_settings(to_admin.clone());

    let parts = embermesh_cost_ledger::parts(process, to_admin.clone())?;
    let ledger = CostLedger::start(embermesh_cost_ledger::settings(config)?, parts).await?;
    let to_ledger = in_process()
        .service(ledger.ledger_server())
        .direct::<LedgerServer<()>, _>(ledger.ledger())
        .service(ledger.reports_server())
        .service(process.debug_server())
        .transport();

    let parts = embermesh_vector_store::parts(process, to_admin.clone())?;
    let store = VectorStore::start(embermesh_vector_store::settings(config)?, parts).await?;
    let to_store = in_process()
        .service(store.store_server())
        .service(store.answers_server())
        .service(store.vector_cache_server())
        .service(store.throttle_server())
        .service(store.cache_jobs_server())
        .service(store.jobs_server())
        .service(store.migration_store_server())
        .service(process.debug_server())
        .transport();

    let parts =
        embermesh_provider_router::parts(process, to_ledger.clone(), to_admin.clone(), to_store.clone());
    let router = ProviderRouter::start(config, parts).await?;
    let to_router = in_process()
        .service(router.router_server())
        .direct::<RouterServer<()>, _>(router.router())
        .service(router.operations_server())
        .service(process.debug_server())
        .transport();

    let services = Services { router: to_router, store: to_store, ledger: to_ledger, admin: to_admin };
    let gateway =
        Gateway::start(&embermesh_gateway::settings(config)?, embermesh_gateway::parts(process, services))
            .await?;
    Ok(Composed { app: gateway.app(), first })
}
