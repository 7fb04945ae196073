//! A ledger with its clients.

use std::time::{Duration, SystemTime};

use embermesh_auth::{Principal, Scopes};
use embermesh_cost_ledger::{CostLedger, Parts, Settings};
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{AttemptOutcome, Charge, ReserveRequest, SettleRequest, ledger_client::LedgerClient},
    v1::{Agent, Constraints, reports_client::ReportsClient},
};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use embermesh_types::{ManualClock, TenantId};
use uuid::{NoContext, Timestamp, Uuid};

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: Duration = Duration::from_secs(1_795_348_800);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn tenant(n: u128) -> TenantId {
    TenantId::new(Uuid::from_u128(n))
}

/// An agent with its limits of a day, a month and a request.
type Limited<'a> = (&'a str, Option<i64>, Option<i64>, Option<i64>);

/// Agents of tenant 1.
pub(crate) fn limits(agents: &[Limited<'_>]) -> Snapshot {
    agents.iter().fold(Snapshot::default(), |snapshot, (id, day, month, request)| {
        let constraints = Constraints {
            max_cost_per_day_nano_usd: *day,
            max_cost_per_month_nano_usd: *month,
            max_cost_per_request_nano_usd: *request,
            ..Constraints::default()
        };
        let agent = Agent { agent_id: (*id).to_owned(), constraints: Some(constraints), ..Agent::default() };
        snapshot.with_agent(tenant(1), agent)
    })
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) service: CostLedger,
    pub(crate) ledger: LedgerClient<Transport>,
    pub(crate) reports: ReportsClient<Transport>,
}

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) clock: ManualClock,
    pub(crate) snapshot: Snapshot,
    pub(crate) replica: Replica,
    pub(crate) context: CallContext,
}

impl World {
    pub(crate) async fn new(snapshot: Snapshot) -> Self {
        Self::at(SystemTime::UNIX_EPOCH + NOON, snapshot).await
    }

    pub(crate) async fn at(start: SystemTime, snapshot: Snapshot) -> Self {
        let database = TestDatabase::create().await;
        let clock = ManualClock::new(start);
        let replica = Replica::start(&database, &clock, Subscription::fixed(snapshot.clone())).await;
        Self { database, clock, snapshot, replica, context: context(tenant(1), None) }
    }

    pub(crate) async fn another_replica(&self) -> Replica {
        Replica::start(&self.database, &self.clock, Subscription::fixed(self.snapshot.clone())).await
    }

    /// One that has reached admin as little as it has found a copy on disk.
    pub(crate) async fn uninformed_replica(&self) -> Replica {
        Replica::start(&self.database, &self.clock, Subscription::unknown()).await
    }

    /// An id made now, by the world's clock.
    pub(crate) fn attempt(&self) -> Uuid {
        let now = self.clock.clock().now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Uuid::new_v7(Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos()))
    }

    pub(crate) async fn reserve(&self, attempt: Uuid, agent: &str, nanos: i64) -> Result<(), Error> {
        let request = self.context.request(reservation(attempt, agent, nanos));
        self.replica.ledger.clone().reserve(request).await.map(drop).map_err(Error::from)
    }

    pub(crate) async fn settle(&self, message: SettleRequest) -> Result<(), Error> {
        let request = self.context.request(message);
        self.replica.ledger.clone().settle(request).await.map(drop).map_err(Error::from)
    }

    /// Reserved and settled in one go; returns the attempt.
    pub(crate) async fn spend(&self, agent: &str, nanos: i64) -> Uuid {
        let attempt = self.attempt();
        self.reserve(attempt, agent, nanos).await.unwrap();
        self.settle(settlement(attempt, agent, nanos)).await.unwrap();
        attempt
    }

    /// Spent and reserved in the period of `kind` that begins on `start`.
    pub(crate) async fn balance(&self, agent: &str, kind: &str, start: &str) -> (i64, i64) {
        let sql = "SELECT spent, reserved FROM balances
                   WHERE tenant_id = $1 AND agent_id = $2 AND period = $3 AND period_start::text = $4";
        let (database, tenant) = (self.connect(Role::Operator).await, self.context.principal.tenant.uuid());
        let row = database.system().query_opt(sql, &[&tenant, &agent, &kind, &start]).await.unwrap();
        row.map_or((0, 0), |row| (row.get(0), row.get(1)))
    }

    pub(crate) async fn today(&self, agent: &str) -> (i64, i64) {
        self.balance(agent, "day", "2026-11-22").await
    }

    pub(crate) async fn connect(&self, role: Role) -> Database {
        let pool = PoolConfig::default();
        Database::connect(self.database.url(), Schema::Ledger, role, &pool).await.unwrap()
    }
}

impl Replica {
    async fn start(database: &TestDatabase, clock: &ManualClock, subscription: Subscription) -> Self {
        let parts = Parts {
            database_url: database.url().clone(),
            subscription,
            tasks: Tasks::new(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: clock.clock(),
        };
        let service = CostLedger::start(Settings::default(), parts).await.unwrap();
        let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
        Self {
            ledger: LedgerClient::new(in_process(service.ledger_server(), &calls)),
            reports: ReportsClient::new(in_process(service.reports_server(), &calls)),
            service,
        }
    }
}

pub(crate) fn context(tenant: TenantId, agent: Option<&str>) -> CallContext {
    CallContext {
        principal: Principal {
            tenant,
            key: "key1".parse().unwrap(),
            agent: agent.map(|agent| agent.parse().unwrap()),
            scopes: Scopes::parse(["embed", "read", "costs"]).unwrap(),
        },
        request_id: "test".parse().unwrap(),
        deadline: None,
    }
}

pub(crate) fn reservation(attempt: Uuid, agent: &str, nanos: i64) -> ReserveRequest {
    ReserveRequest {
        attempt_id: attempt.to_string(),
        agent_id: agent.to_owned(),
        request_id: "request".to_owned(),
        key_id: "key1".to_owned(),
        provider: "openai".to_owned(),
        deployment: "openai-1".to_owned(),
        model: "small".to_owned(),
        space_id: "acme/small@8".to_owned(),
        amount_nano_usd: nanos,
        tokens_bound: 100,
        price_per_million_nano_usd: 20_000_000,
    }
}

pub(crate) fn charge(request: &str, agent: &str, nanos: i64) -> Charge {
    Charge {
        request_id: request.to_owned(),
        agent_id: agent.to_owned(),
        key_id: "key1".to_owned(),
        tokens: 10,
        amount_nano_usd: nanos,
        inputs: 1,
    }
}

pub(crate) fn settlement(attempt: Uuid, agent: &str, nanos: i64) -> SettleRequest {
    SettleRequest {
        attempt_id: attempt.to_string(),
        outcome: AttemptOutcome::Settled.into(),
        amount_nano_usd: nanos,
        tokens: 10,
        charges: vec![charge(&attempt.to_string(), agent, nanos)],
    }
}

pub(crate) fn voided(attempt: Uuid) -> SettleRequest {
    SettleRequest {
        attempt_id: attempt.to_string(),
        outcome: AttemptOutcome::Voided.into(),
        ..SettleRequest::default()
    }
}
