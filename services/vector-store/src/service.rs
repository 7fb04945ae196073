//! The service, put together.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::ReplicaSet;
use embermesh_proto::internal::v1::{
    answers_server::AnswersServer, cache_jobs_server::CacheJobsServer,
    migration_store_server::MigrationStoreServer, store_server::StoreServer, throttle_server::ThrottleServer,
    vector_cache_server::VectorCacheServer,
};
use embermesh_proto::v1::jobs_server::JobsServer;
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::MAX_MESSAGE_BYTES;
use embermesh_types::Clock;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::{
    Settings, StartError, archive,
    footprint::Footprint,
    grpc::{
        StoreService,
        answers::AnswersService,
        jobs::{CacheJobsService, JobsService},
        migrations::MigrationsService,
        throttle::ThrottleService,
        vector_cache::VectorCacheService,
    },
    jobs::Worker,
    maintenance,
    metrics::StoreMetrics,
    redis::Redis,
    retention::Retention,
    slow::SlowQueries,
    store::{Pools, Store, Words},
    uses::Uses,
};

/// How long what was put into Redis by a job is kept, where nobody says.
const DEFAULT_TTL: Duration = Duration::from_secs(15 * 60);

/// What the service is given.
pub struct Parts {
    /// Logs in as the owner of the schema `store`, or as a user who may create it.
    pub database: SecretString,
    /// Where the database's replicas are, if anywhere.
    pub replicas: ReplicaSet,
    /// Where Redis is, if anywhere.
    pub redis: embermesh_config::Redis,
    /// For its background work.
    pub tasks: Tasks,
    /// Gets the condition `vector-store`.
    pub readiness: Readiness,
    /// Gets its metrics.
    pub metrics: Metrics,
    /// Gives rows their time.
    pub clock: Clock,
    /// Tells how long tenants keep their rows.
    pub tenants: Subscription,
}

/// A running vector store.
#[derive(Clone)]
pub struct VectorStore {
    store: Arc<Store>,
    redis: Redis,
    jobs: Worker,
    uses: Uses,
    retention: Arc<Retention>,
    footprint: Arc<Mutex<Footprint>>,
    tasks: Tasks,
}

impl VectorStore {
    /// Migrates the schema, connects, and starts the background work.
    ///
    /// # Errors
    /// [`StartError`], when the database cannot be used or a setting is out of range.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        if let Some(mistake) = settings.mistake() {
            return Err(StartError::Setting(mistake));
        }
        let condition = parts.readiness.condition("vector-store");
        let metrics = StoreMetrics::new(&parts.metrics)?;
        let footprint = Footprint::new(&parts.metrics)?;
        let pools =
            Pools::open(&parts.database, &settings.pool, &parts.replicas, metrics.reads_observer()).await?;
        let pause = Duration::from_secs(u64::from(settings.maintenance_seconds.max(1)));
        let redis = Redis::start(&parts.redis, &settings.redis, &parts.tasks, &parts.metrics)?;
        let words = Words::load(&pools, &settings.text_search).await?;
        let (slow, teller) = SlowQueries::new(settings.slow_query());
        teller.start(pools.app.clone(), &parts.tasks);
        let store = Store::new(pools, words, slow, settings, parts.clock.clone(), metrics);
        store.refresh_spaces().await?;
        condition.set(true);
        let retention = Arc::new(Retention::new(parts.tenants));
        maintenance::start(&store, Arc::clone(&retention), &parts.tasks, condition, pause);
        maintenance::watch_replicas(&store, &parts.tasks);
        let footprint = footprint.start(&store, &parts.tasks);
        let ttl = parts.redis.cache_strategies.embeddings.ttl.map_or(DEFAULT_TTL, |ttl| ttl.0);
        let jobs = Worker::new(Arc::clone(&store), redis.clone(), parts.clock, ttl);
        jobs.start(&parts.tasks);
        let uses = Uses::default();
        uses.start(&store, &parts.tasks);
        Ok(Self { store, redis, jobs, uses, retention, footprint, tasks: parts.tasks })
    }

    /// The gRPC service.
    pub fn store_server(&self) -> StoreServer<impl embermesh_proto::internal::v1::store_server::Store> {
        let service = StoreService::new(Arc::clone(&self.store), self.uses.clone(), self.tasks.clone());
        StoreServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The gRPC service of idempotency keys.
    pub fn answers_server(
        &self,
    ) -> AnswersServer<impl embermesh_proto::internal::v1::answers_server::Answers + use<>> {
        AnswersServer::new(AnswersService(Arc::clone(&self.store)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The gRPC service of the vectors in Redis.
    pub fn vector_cache_server(
        &self,
    ) -> VectorCacheServer<impl embermesh_proto::internal::v1::vector_cache_server::VectorCache + use<>> {
        VectorCacheServer::new(VectorCacheService(self.redis.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The gRPC service of the shared rate limits.
    pub fn throttle_server(
        &self,
    ) -> ThrottleServer<impl embermesh_proto::internal::v1::throttle_server::Throttle + use<>> {
        ThrottleServer::new(ThrottleService(self.redis.clone()))
    }

    /// The gRPC service that starts jobs on the cache.
    pub fn cache_jobs_server(
        &self,
    ) -> CacheJobsServer<impl embermesh_proto::internal::v1::cache_jobs_server::CacheJobs + use<>> {
        CacheJobsServer::new(CacheJobsService(self.jobs.clone()))
    }

    /// The gRPC service of migrations between spaces.
    pub fn migration_store_server(
        &self,
    ) -> MigrationStoreServer<
        impl embermesh_proto::internal::v1::migration_store_server::MigrationStore + use<>,
    > {
        MigrationStoreServer::new(MigrationsService(Arc::clone(&self.store)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The public gRPC service that tells of jobs.
    pub fn jobs_server(&self) -> JobsServer<impl embermesh_proto::v1::jobs_server::Jobs + use<>> {
        JobsServer::new(JobsService(Arc::clone(&self.store)))
    }

    /// One round of the background work, now: partitions, expiry, the indexes that are due unless another
    /// replica builds some at this moment, rows past their retention, and the months that leave. Everything is tried.
    ///
    /// # Errors
    /// The first failure but those of archiving, which are logged.
    pub async fn maintain(&self) -> Result<(), StartError> {
        self.uses.write(&self.store).await;
        let round = maintenance::round(&self.store).await;
        let retention = maintenance::retain(&self.store, &self.retention).await;
        maintenance::archive_due(&self.store).await;
        Ok(round.and(retention)?)
    }
}

impl VectorStore {
    /// Looks at what the tables take, for the metrics. A task does this all the time.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn measure(&self) -> Result<(), StartError> {
        Ok(self.footprint.lock().await.look(&self.store).await?)
    }

    /// Brings an archived month back, given its manifest; returns how many rows were not there yet.
    ///
    /// # Errors
    /// When the files are not what was written, or the database refuses. Then nothing came back.
    pub async fn restore(&self, manifest: &Path) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(archive::restore(&self.store, manifest).await?.1)
    }
}

impl fmt::Debug for VectorStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VectorStore")
    }
}
