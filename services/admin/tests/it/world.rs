//! A control plane with its clients.

use std::time::{Duration, SystemTime};

use embermesh_admin::{AdminService, FirstKeys, FirstStart, Parts, Settings};
use embermesh_auth::{Principal, Scopes};
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::config_client::ConfigClient,
    v1::{
        CatalogModel, agents_client::AgentsClient, budgets_client::BudgetsClient,
        catalog_client::CatalogClient, keys_client::KeysClient, policies_client::PoliciesClient,
        providers_client::ProvidersClient, tenants_client::TenantsClient,
    },
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use embermesh_types::{ManualClock, TenantId};

pub(crate) const START: SystemTime = SystemTime::UNIX_EPOCH;
/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: Duration = Duration::from_secs(1_795_348_800);

/// One replica.
pub(crate) struct Replica {
    pub(crate) service: AdminService,
    pub(crate) agents: AgentsClient<Transport>,
    pub(crate) keys: KeysClient<Transport>,
    pub(crate) catalog: CatalogClient<Transport>,
    pub(crate) budgets: BudgetsClient<Transport>,
    pub(crate) tenants: TenantsClient<Transport>,
    pub(crate) policies: PoliciesClient<Transport>,
    pub(crate) providers: ProvidersClient<Transport>,
    pub(crate) config: ConfigClient<Transport>,
    pub(crate) to_config: Transport,
    pub(crate) tasks: Tasks,
}

impl Replica {
    pub(crate) async fn start(database: &TestDatabase, clock: &ManualClock, settings: Settings) -> Self {
        let tasks = Tasks::new();
        let parts = Parts {
            database_url: database.url().clone(),
            tasks: tasks.clone(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: clock.clock(),
        };
        let mut settings = settings;
        // many changes at once on a busy machine
        settings.pool.acquire_timeout = Duration::from_secs(120);
        let service = AdminService::start(settings, parts).await.unwrap();
        let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
        let to_config = in_process(service.config_server(), &calls);
        Self {
            agents: AgentsClient::new(in_process(service.agents_server(), &calls)),
            keys: KeysClient::new(in_process(service.keys_server(), &calls)),
            catalog: CatalogClient::new(in_process(service.catalog_server(), &calls)),
            budgets: BudgetsClient::new(in_process(service.budgets_server(), &calls)),
            config: ConfigClient::new(to_config.clone()),
            to_config,
            tenants: TenantsClient::new(in_process(service.tenants_server(), &calls)),
            policies: PoliciesClient::new(in_process(service.policies_server(), &calls)),
            providers: ProvidersClient::new(in_process(service.providers_server(), &calls)),
            service,
            tasks,
        }
    }
}

/// One replica, with a tenant.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) clock: ManualClock,
    pub(crate) replica: Replica,
    pub(crate) first: FirstKeys,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let database = TestDatabase::create().await;
        let clock = ManualClock::new(START + NOON);
        let replica = Replica::start(&database, &clock, settings).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.json");
        let first = match replica.service.ensure_first_keys("http://127.0.0.1:1", &file).await.unwrap() {
            FirstStart::Created(first) => first,
            FirstStart::Existing => panic!("a new database has no tenant"),
        };
        Self { database, clock, replica, first }
    }

    /// The first tenant's admin.
    pub(crate) fn admin(&self) -> CallContext {
        context(self.first.tenant, None, &["admin"])
    }

    /// A second tenant under a known id, made behind the service's back.
    pub(crate) async fn other_tenant(&self) -> CallContext {
        let tenant: TenantId = "0192d5a0-0000-7000-8000-00000000beef".parse().unwrap();
        let pool = embermesh_postgres::PoolConfig::default();
        let (schema, role) = (embermesh_postgres::Schema::Admin, embermesh_postgres::Role::Owner);
        let owner =
            embermesh_postgres::Database::connect(self.database.url(), schema, role, &pool).await.unwrap();
        let sql = "INSERT INTO tenants (tenant_id, name, created_at) VALUES ($1, 'other', now()) ON CONFLICT DO NOTHING";
        owner.tenant(tenant.uuid()).execute(sql, &[&tenant.uuid()]).await.unwrap();
        context(tenant, None, &["admin"])
    }
}

pub(crate) fn context(tenant: TenantId, agent: Option<&str>, scopes: &[&str]) -> CallContext {
    CallContext {
        principal: Principal {
            tenant,
            key: "testkey".parse().unwrap(),
            agent: agent.map(|agent| agent.parse().unwrap()),
            scopes: Scopes::parse(scopes.iter().copied()).unwrap(),
        },
        request_id: "test".parse().unwrap(),
        deadline: None,
    }
}

/// The models that the release ships.
pub(crate) fn shipped() -> Vec<CatalogModel> {
    serde_json::from_str(include_str!("../../catalog/models.json")).unwrap()
}

/// The error that a call must have ended in.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Error {
    Error::from(answer.unwrap_err())
}
