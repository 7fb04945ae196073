//! A ledger with its clients.

use std::time::{Duration, SystemTime};

use embermesh_auth::{Principal, Scopes};
use embermesh_cost_ledger::{CostLedger, Parts, Settings};
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{
        AttemptOutcome, Charge, RefusedPart, ReservePart, ReserveRequest, SettleRequest,
        ledger_client::LedgerClient,
    },
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
        Self::start(start, snapshot, Settings::default()).await
    }

    pub(crate) async fn with(snapshot: Snapshot, settings: Settings) -> Self {
        Self::start(SystemTime::UNIX_EPOCH + NOON, snapshot, settings).await
    }

    async fn start(start: SystemTime, snapshot: Snapshot, settings: Settings) -> Self {
        let database = TestDatabase::create().await;
        let clock = ManualClock::new(start);
        let known = Subscription::fixed(snapshot.clone());
        let replica = Replica::start_with(&database, &clock, known, settings).await;
        Self { database, clock, snapshot, replica, context: context(tenant(1), None) }
    }

    pub(crate) async fn another_replica(&self) -> Replica {
        Replica::start(&self.database, &self.clock, Subscription::fixed(self.snapshot.clone())).await
    }

    pub(crate) async fn another_replica_with(&self, settings: Settings) -> Replica {
        let known = Subscription::fixed(self.snapshot.clone());
        Replica::start_with(&self.database, &self.clock, known, settings).await
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
        self.share(reservation(attempt, agent, nanos)).await.map(drop)
    }

    /// Reserves; returns the parts that were left out.
    pub(crate) async fn share(&self, message: ReserveRequest) -> Result<Vec<RefusedPart>, Error> {
        let request = self.context.request(message);
        let reply = self.replica.ledger.clone().reserve(request).await.map_err(Error::from)?;
        Ok(reply.into_inner().refused)
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
        let [spent, reserved, ..] = self.account(("agent", agent), kind, start).await;
        (spent, reserved)
    }

    /// Spent, reserved, leased and presumed of an account in the period of `kind` that begins on `start`.
    pub(crate) async fn account(&self, (scope, subject): (&str, &str), kind: &str, start: &str) -> [i64; 4] {
        let sql = "SELECT spent, reserved, leased, presumed FROM balances
                   WHERE tenant_id = $1 AND scope = $2 AND subject = $3 AND period = $4 AND period_start::text = $5";
        let (database, tenant) = (self.connect(Role::Operator).await, self.context.principal.tenant.uuid());
        let row =
            database.system().query_opt(sql, &[&tenant, &scope, &subject, &kind, &start]).await.unwrap();
        row.map_or([0; 4], |row| [0, 1, 2, 3].map(|column| row.get(column)))
    }

    /// The same of an agent's day.
    pub(crate) async fn day_of(&self, agent: &str) -> [i64; 4] {
        self.account(("agent", agent), "day", "2026-11-22").await
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
        Self::start_with(database, clock, subscription, Settings::default()).await
    }

    async fn start_with(
        database: &TestDatabase,
        clock: &ManualClock,
        subscription: Subscription,
        settings: Settings,
    ) -> Self {
        let parts = Parts {
            database_url: database.url().clone(),
            subscription,
            tasks: Tasks::new(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: clock.clock(),
        };
        let service = CostLedger::start(settings, parts).await.unwrap();
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

/// A request's share of an attempt.
pub(crate) fn part(request: &str, agent: &str, nanos: i64) -> ReservePart {
    ReservePart {
        request_id: request.to_owned(),
        agent_id: agent.to_owned(),
        key_id: "key1".to_owned(),
        amount_nano_usd: nanos,
        tokens_bound: 100,
        inputs: 3,
        lease_id: String::new(),
    }
}

/// Of one request, named after the attempt.
pub(crate) fn reservation(attempt: Uuid, agent: &str, nanos: i64) -> ReserveRequest {
    shared(attempt, vec![part(&attempt.to_string(), agent, nanos)])
}

pub(crate) fn shared(attempt: Uuid, parts: Vec<ReservePart>) -> ReserveRequest {
    ReserveRequest {
        attempt_id: attempt.to_string(),
        parts,
        provider: "openai".to_owned(),
        deployment: "openai-1".to_owned(),
        model: "small".to_owned(),
        space_id: "acme/small@8".to_owned(),
        price_per_million_nano_usd: 20_000_000,
        session_id: String::new(),
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
    settled(attempt, vec![charge(&attempt.to_string(), agent, nanos)])
}

/// With what the charges sum to.
pub(crate) fn settled(attempt: Uuid, charges: Vec<Charge>) -> SettleRequest {
    SettleRequest {
        attempt_id: attempt.to_string(),
        outcome: AttemptOutcome::Settled.into(),
        amount_nano_usd: charges.iter().fold(0, |sum, charge| sum.saturating_add(charge.amount_nano_usd)),
        tokens: charges.iter().map(|charge| charge.tokens).sum(),
        charges,
        billed_units: 0,
    }
}

pub(crate) fn voided(attempt: Uuid) -> SettleRequest {
    SettleRequest {
        attempt_id: attempt.to_string(),
        outcome: AttemptOutcome::Voided.into(),
        ..SettleRequest::default()
    }
}
