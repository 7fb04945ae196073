//! A store on a database of its own, and callers of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use embermesh_auth::{Principal, Scopes};
use embermesh_config::{Redis, Secret};
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, PoolConfig, ReplicaSet, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{
        BeginReply, BeginRequest, FinishRequest, Finished, PutRequest, PutResult, PutRow, StoreDeleteRequest,
        StoreFilter, StoreGetRequest, StoreListReply, StoreListRequest, StoreRow, StoreSearchReply,
        StoreSearchRequest, answers_client::AnswersClient, migration_store_client::MigrationStoreClient,
        store_client::StoreClient,
    },
    to_le_bytes,
};
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, InProcess, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::{ManualClock, TenantId};
use secrecy::SecretString;

use embermesh_vector_store::{Parts, RedisTuning, Settings, StartError, VectorStore};

/// The space of most tests.
pub const SPACE: &str = "test/model@4";

pub struct Bench {
    pub database: TestDatabase,
    pub store: VectorStore,
    pub clock: ManualClock,
    pub metrics: Metrics,
    transport: Transport,
    _tasks: Tasks,
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        Self::on(TestDatabase::create().await, settings).await
    }

    pub async fn on(database: TestDatabase, settings: Settings) -> Self {
        let url = database.url().clone();
        Self::logged_in(database, url, settings).await
    }

    /// With a store that logs in as somebody else than the superuser.
    pub async fn logged_in(database: TestDatabase, url: SecretString, settings: Settings) -> Self {
        Self::beside(database, url, settings, Redis::default(), Subscription::unknown()).await
    }

    /// With a Redis, or what is configured as one.
    pub async fn with_redis(url: &str, tuning: RedisTuning) -> Self {
        let database = TestDatabase::create().await;
        let login = database.url().clone();
        let redis = Redis { url: Some(Secret::new(url)), ..Redis::default() };
        let settings = Settings { redis: tuning, ..Settings::default() };
        Self::beside(database, login, settings, redis, Subscription::unknown()).await
    }

    /// With what admin tells of tenants.
    pub async fn told(settings: Settings, tenants: Subscription) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().clone();
        Self::beside(database, url, settings, Redis::default(), tenants).await
    }

    async fn beside(
        database: TestDatabase,
        url: SecretString,
        settings: Settings,
        redis: Redis,
        tenants: Subscription,
    ) -> Self {
        // the middle of a month
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_164_800));
        let (metrics, tasks) = (Metrics::default(), Tasks::new());
        let parts = Parts { tenants, ..parts(url, redis, &tasks, &metrics, &clock) };
        let mut settings = settings;
        // a hundred at once on a busy machine
        settings.pool.acquire_timeout = Duration::from_secs(120);
        settings.pool.connect_timeout = Duration::from_secs(120);
        let store = VectorStore::start(settings, parts).await.unwrap();
        let transport = InProcess::new(GrpcMetrics::new(&Metrics::default()).unwrap())
            .service(store.store_server())
            .service(store.answers_server())
            .service(store.migration_store_server())
            .transport();
        Self { database, store, clock, metrics, transport, _tasks: tasks }
    }

    /// One more store on the same database, if it starts.
    pub async fn start_again(&self, settings: Settings) -> Result<VectorStore, StartError> {
        let (url, tasks) = (self.database.url().clone(), Tasks::new());
        let parts = parts(url, Redis::default(), &tasks, &Metrics::default(), &self.clock);
        VectorStore::start(settings, parts).await
    }

    pub fn caller(&self) -> Caller {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let tenant = format!("0192d5a0-0000-7000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.caller_of(tenant.parse().unwrap(), None)
    }

    pub fn caller_of(&self, tenant: TenantId, agent: Option<&str>) -> Caller {
        Caller::over(&self.transport, tenant, agent)
    }

    /// Of the worker and the operator of migrations.
    pub fn migrations(&self) -> MigrationStoreClient<Transport> {
        MigrationStoreClient::new(self.transport.clone())
    }

    pub async fn sql(&self, role: Role) -> Database {
        let pool = PoolConfig { max_idle_conns: 1, ..PoolConfig::default() };
        Database::connect(self.database.url(), Schema::Store, role, &pool).await.unwrap()
    }

    /// One number, past row-level security.
    pub async fn number(&self, sql: &str) -> i64 {
        self.sql(Role::Owner).await.system().query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Rows of the one space and entries of the key table, at one moment.
    pub async fn rows_and_keys(&self) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM embeddings), (SELECT count(*) FROM embedding_keys)";
        let row = self.sql(Role::Owner).await.system().query_one(sql, &[]).await.unwrap();
        (row.get(0), row.get(1))
    }
}

fn parts(
    database: SecretString,
    redis: Redis,
    tasks: &Tasks,
    metrics: &Metrics,
    clock: &ManualClock,
) -> Parts {
    Parts {
        database,
        replicas: ReplicaSet::default(),
        redis,
        tasks: tasks.clone(),
        readiness: Readiness::default(),
        metrics: metrics.clone(),
        clock: clock.clock(),
        tenants: Subscription::unknown(),
    }
}

#[derive(Clone)]
pub struct Caller {
    pub client: StoreClient<Transport>,
    answers: AnswersClient<Transport>,
    pub context: CallContext,
}

impl Caller {
    pub fn over(transport: &Transport, tenant: TenantId, agent: Option<&str>) -> Self {
        let client = StoreClient::new(transport.clone());
        let answers = AnswersClient::new(transport.clone());
        Self {
            answers: answers
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            client: client
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            context: CallContext {
                principal: Principal {
                    tenant,
                    key: "key".parse().unwrap(),
                    agent: agent.map(|agent| agent.parse().unwrap()),
                    scopes: Scopes::default(),
                },
                request_id: "request".parse().unwrap(),
                deadline: None,
            },
        }
    }

    pub fn tenant(&self) -> TenantId {
        self.context.principal.tenant
    }

    pub async fn put_into(&self, space: &str, rows: Vec<PutRow>) -> Result<Vec<PutResult>, Error> {
        let dimensions = space.rsplit_once('@').unwrap().1.parse().unwrap();
        let request = PutRequest { space_id: space.into(), dimensions, rows };
        let reply = self.client.clone().put(self.context.request(request)).await;
        reply.map(|reply| reply.into_inner().results).map_err(Error::from)
    }

    pub async fn put(&self, rows: Vec<PutRow>) -> Vec<PutResult> {
        self.put_into(SPACE, rows).await.unwrap()
    }

    /// Puts one row; returns its id.
    pub async fn put_one(&self, row: PutRow) -> String {
        self.put(vec![row]).await.remove(0).embedding_id
    }

    pub async fn search(&self, request: StoreSearchRequest) -> Result<StoreSearchReply, Error> {
        let reply = self.client.clone().search(self.context.request(request)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    /// The texts nearest to `query` among what `filter` matches.
    pub async fn nearest(&self, query: &[f32], filter: StoreFilter) -> Vec<String> {
        let request = StoreSearchRequest { filter: Some(filter), ..search(query) };
        contents(self.search(request).await.unwrap())
    }

    pub async fn get(&self, id: &str) -> Result<StoreRow, Error> {
        let request = StoreGetRequest { embedding_id: id.into(), return_vector: true, ..Default::default() };
        let reply = self.client.clone().get(self.context.request(request)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    pub async fn list(&self, request: StoreListRequest) -> Result<StoreListReply, Error> {
        let reply = self.client.clone().list(self.context.request(request)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    pub async fn delete(&self, filter: StoreFilter, dry_run: bool) -> Result<u64, Error> {
        let request = StoreDeleteRequest { filter: Some(filter), dry_run };
        let reply = self.client.clone().delete(self.context.request(request)).await;
        reply.map(|reply| reply.into_inner().count).map_err(Error::from)
    }

    pub async fn begin(&self, request: BeginRequest) -> Result<BeginReply, Error> {
        let reply = self.answers.clone().begin(self.context.request(request)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    /// Returns the keys that were somebody else's.
    pub async fn finish(&self, holder: u8, finished: Vec<Finished>) -> Vec<String> {
        let request = FinishRequest { holder: vec![holder; 16].into(), finished };
        let reply = self.answers.clone().finish(self.context.request(request)).await;
        reply.unwrap().into_inner().lost
    }
}

/// A caller of the tenant of this number.
pub fn caller_over(transport: &Transport, number: u64) -> Caller {
    Caller::over(transport, format!("0192d5a0-0000-7000-8000-{number:012x}").parse().unwrap(), None)
}

/// A row of agent `a` in the direction of `vector`.
pub fn row(content: &str, vector: &[f32]) -> PutRow {
    PutRow {
        agent_id: "a".into(),
        content: content.into(),
        metadata: "{}".into(),
        model: "model".into(),
        provider: "local".into(),
        input_type: "document".into(),
        task_type: "general_qa".into(),
        pii_policy_version: "1".into(),
        tokens: 3,
        cost_nano_usd: 20,
        vector: to_le_bytes(vector),
        ..PutRow::default()
    }
}

pub fn search(query: &[f32]) -> StoreSearchRequest {
    StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(query),
        limit: 10,
        ..StoreSearchRequest::default()
    }
}

pub fn contents(reply: StoreSearchReply) -> Vec<String> {
    reply.hits.into_iter().map(|hit| hit.row.unwrap().content).collect()
}

/// Numbers that look random and are the same in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
    }

    pub fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.next()).collect()
    }
}
