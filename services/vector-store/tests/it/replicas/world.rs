//! A primary with standbys of its own, and a store on them.

use std::time::{Duration, Instant};

use embermesh_config::Redis;
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{ReplicaSet, ReplicaSettings};
use embermesh_private_postgres::{Options, PrivatePostgres, Standby, test_options};
use embermesh_proto::internal::v1::{
    PutRequest, PutRow, StoreDeleteRequest, StoreFilter, StoreGetRequest, StoreRead, StoreRow,
};
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, InProcess, Transport};
use embermesh_types::Clock;
use embermesh_vector_store::{Parts, Settings, VectorStore};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::harness::{Caller, SPACE, caller_over};

/// How long a machine that is busy may take for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub primary: Mutex<Option<PrivatePostgres>>,
    pub standbys: Mutex<Vec<Standby>>,
    pub caller: Caller,
    /// Of another tenant.
    pub other: Caller,
    metrics: Metrics,
    _tasks: Tasks,
    _dir: TempDir,
}

/// A store on `primary`, with replicas.
pub async fn store(primary: &SecretString, replicas: Vec<SecretString>) -> (Transport, Metrics, Tasks) {
    let (metrics, tasks) = (Metrics::default(), Tasks::new());
    let parts = Parts {
        database: primary.clone(),
        replicas: ReplicaSet { urls: replicas, settings: ReplicaSettings::default() },
        redis: Redis::default(),
        tasks: tasks.clone(),
        readiness: Readiness::default(),
        metrics: metrics.clone(),
        clock: Clock::system(),
        tenants: Subscription::unknown(),
    };
    let store = VectorStore::start(Settings::default(), parts).await.unwrap();
    let transport = InProcess::new(GrpcMetrics::new(&Metrics::default()).unwrap())
        .service(store.store_server())
        .service(store.answers_server())
        .transport();
    (transport, metrics, tasks)
}

impl World {
    pub async fn start(standbys: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let options = Options { durable: true, ..test_options(&dir.path().join("primary")) };
        let primary = PrivatePostgres::start(options).await.unwrap();
        let mut copies = Vec::new();
        for at in 0..standbys {
            let folder = dir.path().join(format!("standby{at}"));
            copies.push(Standby::of(&primary, "embeddings", &folder).await);
        }
        let urls = copies.iter().map(Standby::url).collect();
        let (transport, metrics, tasks) = store(primary.connection_url(), urls).await;
        let world = Self {
            primary: Mutex::new(Some(primary)),
            standbys: Mutex::new(copies),
            caller: caller_over(&transport, 1),
            other: caller_over(&transport, 2),
            metrics,
            _tasks: tasks,
            _dir: dir,
        };
        // the space, so that replicas get it; of a tenant that nobody asks for
        put(&caller_over(&transport, 3), crate::harness::row("first", &[1.0; 4])).await;
        world
    }

    /// Keeps a row; its id, and the token of the write.
    pub async fn put(&self, row: PutRow) -> (String, String) {
        put(&self.caller, row).await
    }

    pub async fn get(&self, id: &str, read: StoreRead) -> Result<StoreRow, Error> {
        let request = StoreGetRequest { embedding_id: id.into(), return_vector: false, read: Some(read) };
        let reply = self.caller.client.clone().get(self.caller.context.request(request)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    pub async fn delete(&self, filter: StoreFilter) -> (u64, String) {
        let request = StoreDeleteRequest { filter: Some(filter), dry_run: false };
        let reply = self.caller.client.clone().delete(self.caller.context.request(request)).await;
        let reply = reply.unwrap().into_inner();
        (reply.count, reply.write_token)
    }

    /// Reads so far that a replica answered, or began to.
    pub fn on_replicas(&self) -> u64 {
        self.count(|labels| labels.contains(&("target", "replica")))
    }

    /// Reads that failed on a replica and were repeated on the primary.
    pub fn repeated(&self) -> u64 {
        self.count(|labels| labels.contains(&("reason", "failed")))
    }

    fn count(&self, wanted: impl Fn(&[(&str, &str)]) -> bool) -> u64 {
        reads(&self.metrics, wanted)
    }

    /// Waits until every replica follows and is not behind.
    pub async fn all_follow(&self) {
        let standbys = self.standbys.lock().await.len();
        let begun = Instant::now();
        loop {
            let text = self.metrics.render();
            let following = text.lines().filter(|line| {
                line.starts_with("db_replica_state") && line.contains("following") && line.ends_with(" 1")
            });
            let current = text.lines().filter(|line| {
                line.starts_with("db_replica_lag_bytes")
                    && line.rsplit(' ').next().is_some_and(|bytes| bytes.parse::<f64>().unwrap() < 64.0)
            });
            if following.count() == standbys && current.count() == standbys {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "replicas do not follow: {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Repeats a read, which must be right each time, until a replica has answered it.
    pub async fn on_replica(&self, read: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        loop {
            let before = self.on_replicas();
            assert!(read().await);
            if self.on_replicas() > before {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no replica answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub async fn put(caller: &Caller, row: PutRow) -> (String, String) {
    let request = PutRequest { space_id: SPACE.into(), dimensions: 4, rows: vec![row] };
    let reply = caller.client.clone().put(caller.context.request(request)).await.unwrap().into_inner();
    (reply.results.into_iter().next().unwrap().embedding_id, reply.write_token)
}

/// `db_reads_total` over the series whose labels are `wanted`.
pub fn reads(metrics: &Metrics, wanted: impl Fn(&[(&str, &str)]) -> bool) -> u64 {
    let text = metrics.render();
    let series = text.lines().filter_map(|line| line.strip_prefix("db_reads_total{")?.split_once("} "));
    let of = |(labels, value): (&str, &str)| {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels: Vec<_> = pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect();
        if wanted(&labels) { value.parse::<f64>().unwrap() as u64 } else { 0 }
    };
    series.map(of).sum()
}

pub fn after(token: &str) -> StoreRead {
    StoreRead { eventual: false, after_token: token.to_owned() }
}

pub fn eventual() -> StoreRead {
    StoreRead { eventual: true, ..StoreRead::default() }
}
