//! A real ledger behind a wire that can be cut, and routers' books in front of it.

use std::{
    future::{Future, ready},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use embermesh_auth::{Principal, Scopes};
use embermesh_cost_ledger::{CostLedger, Parts, Settings};
use embermesh_errors::Error;
use embermesh_escrow::Quota;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{AttemptOutcome, ReservePart, ReserveRequest, TenantEntry, ledger_client::LedgerClient},
    v1::{Agent, Constraints, Quotas},
};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use embermesh_types::{AttemptId, ManualClock, NanoUsd, TenantId, TokenCount};
use tempfile::TempDir;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};
use uuid::Uuid;

use crate::{
    batch::Part,
    books::{Books, Settlement, Wanted, voided},
    domain::usage::Share,
    escrow::Escrow,
    hits::{Destination, Hits},
    hold::Hold,
    ids::uuid_v7,
    metrics::{JournalMetrics, RouterMetrics},
    provider_time::ProviderTime,
    quotas::Taken,
    text::Asker,
};

/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// 2026-11-22T12:00:00Z.
const NOON: Duration = Duration::from_secs(1_795_348_800);

fn tenant() -> TenantId {
    TenantId::new(Uuid::from_u128(1))
}

pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) clock: ManualClock,
    database: TestDatabase,
    subscription: Subscription,
    wire: Transport,
    cut: Arc<AtomicBool>,
}

/// The way to a server; cut, nothing reaches it.
#[derive(Clone)]
struct Wire<S> {
    server: S,
    cut: Arc<AtomicBool>,
}

impl<S: NamedService> NamedService for Wire<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Wire<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if self.cut.load(Ordering::SeqCst) {
            return Box::pin(ready(Ok(Status::unavailable("the wire is cut").into_http())));
        }
        Box::pin(self.server.call(request))
    }
}

/// What an agent has on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) spent: i64,
    pub(super) reserved: i64,
    pub(super) leased: i64,
    pub(super) presumed: i64,
    pub(super) attempts: i64,
    pub(super) presumed_attempts: i64,
}

impl Balance {
    pub(super) fn used(&self) -> i64 {
        self.spent + self.reserved + self.leased + self.presumed
    }
}

impl World {
    /// With these agents and what each may spend in a day.
    pub(super) async fn new(agents: &[(&str, i64)]) -> Self {
        let snapshot = agents.iter().fold(Snapshot::default().with_version(1), |snapshot, (id, day)| {
            let constraints = Constraints { max_cost_per_day_nano_usd: Some(*day), ..Constraints::default() };
            let agent =
                Agent { agent_id: (*id).to_owned(), constraints: Some(constraints), ..Agent::default() };
            snapshot.with_agent(tenant(), agent)
        });
        Self::of(snapshot).await
    }

    /// With these quotas.
    pub(super) async fn with_quotas(quotas: Quotas) -> Self {
        let (tenant_id, quotas) = (tenant().to_string(), Some(quotas));
        let entry = TenantEntry { tenant_id, quotas, ..TenantEntry::default() };
        Self::of(Snapshot::default().with_version(1).with_tenant(entry)).await
    }

    async fn of(snapshot: Snapshot) -> Self {
        let database = TestDatabase::create().await;
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + NOON);
        let subscription = Subscription::fixed(snapshot);
        let parts = Parts {
            database_url: database.url().clone(),
            subscription: subscription.clone(),
            tasks: Tasks::new(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: clock.clock(),
        };
        let ledger = CostLedger::start(Settings::default(), parts).await.unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let wire = Wire { server: ledger.ledger_server(), cut: Arc::clone(&cut) };
        let wire = in_process(wire, &GrpcMetrics::new(&Metrics::default()).unwrap());
        Self { dir: tempfile::tempdir().unwrap(), clock, database, subscription, wire, cut }
    }

    /// Cuts the wire between routers and ledger, or mends it.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// A router with a directory of its own.
    pub(super) fn router(&self) -> Router {
        self.router_in(&self.dir.path().join(Uuid::now_v7().to_string()))
    }

    /// A router that keeps its journal in `dir`.
    pub(super) fn router_in(&self, dir: &Path) -> Router {
        Router::start(self, Some(dir.to_owned()))
    }

    pub(super) fn router_without_journal(&self) -> Router {
        Router::start(self, None)
    }

    /// Spent, reserved, leased and presumed of a quota's day.
    pub(super) async fn quota(&self, name: &str) -> [i64; 4] {
        let (url, pool) = (self.database.url(), PoolConfig::default());
        let database = Database::connect(url, Schema::Ledger, Role::Operator, &pool).await.unwrap();
        let sql = "SELECT spent, reserved, leased, presumed FROM balances
                   WHERE tenant_id = $1 AND scope = $2 AND period = 'day' AND period_start = '2026-11-22'";
        let row = database.system().query_opt(sql, &[&tenant().uuid(), &name]).await.unwrap();
        row.map_or([0; 4], |row| [0, 1, 2, 3].map(|column| row.get(column)))
    }

    pub(super) async fn books(&self, agent: &str) -> Balance {
        self.books_of(agent, "2026-11-22").await
    }

    pub(super) async fn books_of(&self, agent: &str, day: &str) -> Balance {
        let pool = PoolConfig::default();
        let url = self.database.url();
        let database = Database::connect(url, Schema::Ledger, Role::Operator, &pool).await.unwrap();
        let sql = "SELECT spent, reserved, leased, presumed FROM balances
                   WHERE tenant_id = $1 AND scope = 'agent' AND subject = $2 AND period = 'day' AND period_start::text = $3";
        let row = database.system().query_opt(sql, &[&tenant().uuid(), &agent, &day]).await.unwrap();
        let sums = row.map_or((0, 0, 0, 0), |row| (row.get(0), row.get(1), row.get(2), row.get(3)));
        let sql = "SELECT count(*), count(*) FILTER (WHERE state = 'presumed') FROM attempts
                   WHERE tenant_id = $1 AND agent_id = $2 AND day::text = $3";
        let row = database.system().query_one(sql, &[&tenant().uuid(), &agent, &day]).await.unwrap();
        let (spent, reserved, leased, presumed) = sums;
        Balance { spent, reserved, leased, presumed, attempts: row.get(0), presumed_attempts: row.get(1) }
    }
}

/// The books of one router.
pub(super) struct Router {
    pub(super) books: Books,
    pub(super) dir: PathBuf,
    clock: ManualClock,
    tasks: Tasks,
    provider: Arc<str>,
    spent: AtomicI64,
}

impl Router {
    fn start(world: &World, dir: Option<PathBuf>) -> Self {
        let (tasks, metrics) = (Tasks::new(), Metrics::default());
        let ledger = LedgerClient::new(world.wire.clone());
        let escrow = dir.clone().map(|dir| {
            let metrics = JournalMetrics::new(&metrics).unwrap();
            let (subscription, clock) = (world.subscription.clone(), world.clock.clock());
            Escrow::start(dir, &world.wire, subscription, clock, &metrics, &tasks).unwrap()
        });
        let destination = match &escrow {
            Some(escrow) => Destination::Journal(Arc::clone(&escrow.leases.journal)),
            None => Destination::Ledger(ledger.clone()),
        };
        let quotas = crate::quotas::Quotas::new(
            ledger.clone(),
            world.subscription.clone(),
            world.clock.clock(),
            tasks.clone(),
            escrow.as_ref().map(|escrow| Arc::clone(&escrow.leases)),
        );
        let books = Books {
            ledger,
            hits: Hits::start(destination, &tasks),
            tasks: tasks.clone(),
            reservations: RouterMetrics::new(&metrics).unwrap().reservations,
            escrow,
            quotas,
        };
        let (dir, spent) = (dir.unwrap_or_default(), AtomicI64::new(0));
        Self { books, dir, clock: world.clock.clone(), tasks, provider: "openai".into(), spent }
    }

    pub(super) fn ctx(&self) -> CallContext {
        CallContext {
            principal: Principal {
                tenant: tenant(),
                key: "key1".parse().unwrap(),
                agent: None,
                scopes: Scopes::parse(["embed"]).unwrap(),
            },
            request_id: "test".parse().unwrap(),
            deadline: None,
        }
    }

    fn askers(&self, agents: &[&str]) -> Vec<Arc<Asker>> {
        let asker = |agent: &&str| {
            let at_providers = ProviderTime::default();
            Arc::new(Asker { ctx: self.ctx(), agent: agent.parse().unwrap(), trace: None, at_providers })
        };
        agents.iter().map(asker).collect()
    }

    pub(super) async fn reserve(&self, agent: &str, bound: i64) -> Result<Hold, Error> {
        self.reserve_for(&[agent], bound).await
    }

    /// One call for several, each with the same bound.
    pub(super) async fn reserve_for(&self, agents: &[&str], bound: i64) -> Result<Hold, Error> {
        let now = self.clock.clock().now();
        let attempt = AttemptId::new(uuid_v7(now));
        let parts: Vec<Part> =
            self.askers(agents).into_iter().map(|asker| Part { asker, texts: vec![0] }).collect();
        let part = |agent: &&str| ReservePart {
            request_id: "test".to_owned(),
            agent_id: (*agent).to_owned(),
            key_id: "key1".to_owned(),
            amount_nano_usd: bound,
            tokens_bound: 10,
            inputs: 1,
            lease_id: String::new(),
        };
        let request = ReserveRequest {
            attempt_id: attempt.to_string(),
            parts: agents.iter().map(part).collect(),
            provider: self.provider.to_string(),
            deployment: self.provider.to_string(),
            model: "small".to_owned(),
            space_id: "acme/small@8".to_owned(),
            price_per_million_nano_usd: bound,
            session_id: String::new(),
        };
        let provider = &self.provider;
        let wanted = Wanted { attempt, now, tenant: tenant(), provider, parts: &parts, request };
        let (hold, refused) = self.books.reserve(&self.ctx(), wanted).await?;
        assert!(refused.is_empty());
        Ok(hold)
    }

    /// Ends a call, whose every part cost the same.
    pub(super) async fn settle(&self, hold: Hold, agents: &[&str], cost: i64) {
        let share = Share { tokens: TokenCount(3), cost: NanoUsd(cost) };
        let charges: Vec<_> = self.askers(agents).into_iter().map(|asker| (asker, share, 1)).collect();
        let settlement = Settlement {
            attempt: hold.attempt,
            outcome: AttemptOutcome::Settled,
            tokens: TokenCount(3 * agents.len() as u64),
            billed_units: 0,
            charges,
        };
        self.spent.fetch_add(cost * i64::try_from(agents.len()).unwrap(), Ordering::SeqCst);
        self.books.settle(&self.ctx(), hold, settlement).await;
    }

    pub(super) async fn void(&self, hold: Hold) {
        let settlement = voided(hold.attempt);
        self.books.settle(&self.ctx(), hold, settlement).await;
    }

    /// Calls until a lease pays.
    pub(super) async fn until_leased(&self, agent: &str, bound: i64) {
        let leased = self.leased();
        until(|| async {
            let hold = self.reserve(agent, bound).await.unwrap();
            self.settle(hold, &[agent], bound).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.leased() > leased
        })
        .await;
    }

    pub(super) fn leased(&self) -> u64 {
        self.books.reservations.leased.get()
    }

    pub(super) fn direct(&self) -> u64 {
        self.books.reservations.direct.get()
    }

    pub(super) fn calls(&self) -> i64 {
        i64::try_from(self.leased() + self.direct()).unwrap()
    }

    /// What all its calls cost.
    pub(super) fn spent(&self) -> i64 {
        self.spent.load(Ordering::SeqCst)
    }

    /// Takes so much of a quota.
    pub(super) async fn take(&self, quota: Quota, amount: u64) -> Result<Taken, Error> {
        let taken = self.books.quotas.take(&self.ctx(), quota, amount).await?;
        Ok(taken.expect("the quota is limited"))
    }

    /// Takes requests until a lease has one; returns how many.
    pub(super) async fn until_a_lease_counts(&self) -> u64 {
        let mut taken = 0;
        let end = Instant::now() + PATIENCE;
        loop {
            let one = self.take(Quota::Requests, 1).await.unwrap();
            taken += 1;
            if one.is_leased() {
                return taken;
            }
            assert!(Instant::now() < end, "no lease came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends as a process does that is told to.
    pub(super) async fn stop(&self) {
        self.tasks.stop();
        tokio::time::timeout(PATIENCE, self.tasks.finished()).await.expect("it does not end");
    }

    /// Ends as a process does that is killed, in the middle of these attempts.
    pub(super) async fn crash(&self, open: Vec<Hold>) {
        self.tasks.abort();
        tokio::time::timeout(PATIENCE, self.tasks.finished()).await.expect("it does not end");
        if let Some(escrow) = &self.books.escrow {
            escrow.leases.journal.release();
        }
        // an attempt that is dropped would be ended
        open.into_iter().for_each(std::mem::forget);
    }
}

/// The sessions under `dir`.
pub(super) fn journals(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir.as_ref()).map(|all| all.map(|entry| entry.unwrap().path()).collect());
    all.unwrap_or_default()
}

/// Waits until something holds.
pub(super) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "it did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
