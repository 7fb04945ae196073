//! The services behind the edge.

use std::{fmt, sync::Arc};

use embermesh_proto::v1::{
    agents_client::AgentsClient, audit_client::AuditClient, budgets_client::BudgetsClient,
    cache_server::Cache, catalog_client::CatalogClient, debug_server::Debug, embeddings_server::Embeddings,
    jobs_client::JobsClient, keys_client::KeysClient, migrations_server::Migrations,
    operations_client::OperationsClient, policies_client::PoliciesClient, providers_client::ProvidersClient,
    reports_client::ReportsClient, settings_client::SettingsClient, tenants_client::TenantsClient,
};
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};

use crate::{debug::Debugger, read_your_writes::ReadYourWrites};

/// Where the public services are: one is this process's own, the others are clients.
#[derive(Clone)]
pub(crate) struct Backends {
    /// Served here, without a hop.
    pub embeddings: Arc<dyn Embeddings>,
    /// Served here, without a hop.
    pub cache: Arc<dyn Cache>,
    /// Served here, without a hop.
    pub migrations: Arc<dyn Migrations>,
    /// Served here, and asked of the other processes.
    pub debug: Arc<dyn Debug>,
    /// Served by admin.
    pub agents: AgentsClient<ReadYourWrites>,
    /// Served by admin.
    pub keys: KeysClient<ReadYourWrites>,
    /// Served by admin.
    pub catalog: CatalogClient<ReadYourWrites>,
    /// Served by admin.
    pub budgets: BudgetsClient<ReadYourWrites>,
    /// Served by admin.
    pub providers: ProvidersClient<ReadYourWrites>,
    /// Served by admin.
    pub audit: AuditClient<ReadYourWrites>,
    /// Served by admin.
    pub settings: SettingsClient<ReadYourWrites>,
    /// Served by admin.
    pub tenants: TenantsClient<ReadYourWrites>,
    /// Served by admin.
    pub policies: PoliciesClient<ReadYourWrites>,
    /// Served by the ledger.
    pub reports: ReportsClient<Transport>,
    /// Served by the store.
    pub jobs: JobsClient<Transport>,
    /// Served by the router.
    pub operations: OperationsClient<Transport>,
}

/// The ways to the services that calls are forwarded to.
#[derive(Debug, Clone)]
pub(crate) struct Upstreams {
    /// Agents, keys, catalog, budgets, providers, audit, settings, tenants and policies.
    pub admin: ReadYourWrites,
    /// Reports.
    pub ledger: Transport,
    /// Operations.
    pub router: Transport,
    /// Jobs.
    pub store: Transport,
    /// What each process is busy with.
    pub debug: Arc<Debugger>,
}

macro_rules! client {
    ($client:ident, $to:expr) => {
        $client::new($to.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

impl Backends {
    /// `embeddings`, `cache` and `migrations` here, everything else as `upstreams` says.
    pub fn new(
        embeddings: Arc<dyn Embeddings>,
        cache: Arc<dyn Cache>,
        migrations: Arc<dyn Migrations>,
        upstreams: &Upstreams,
    ) -> Self {
        Self {
            embeddings,
            cache,
            migrations,
            debug: upstreams.debug.clone(),
            agents: client!(AgentsClient, upstreams.admin),
            keys: client!(KeysClient, upstreams.admin),
            catalog: client!(CatalogClient, upstreams.admin),
            budgets: client!(BudgetsClient, upstreams.admin),
            providers: client!(ProvidersClient, upstreams.admin),
            audit: client!(AuditClient, upstreams.admin),
            settings: client!(SettingsClient, upstreams.admin),
            tenants: client!(TenantsClient, upstreams.admin),
            policies: client!(PoliciesClient, upstreams.admin),
            reports: client!(ReportsClient, upstreams.ledger),
            jobs: client!(JobsClient, upstreams.store),
            operations: client!(OperationsClient, upstreams.router),
        }
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backends")
    }
}
