//! Jobs on the cache, and what they leave in Redis.

use std::time::{Duration, Instant};

use embermesh_auth::Scopes;
use embermesh_cache::testing::TestRedis;
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{
        GetVectorsRequest, KeptVector, StartClearRequest, StartWarmRequest, WarmModel,
        cache_jobs_client::CacheJobsClient, vector_cache_client::VectorCacheClient,
    },
    v1::{GetJobRequest, Job, jobs_client::JobsClient},
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use embermesh_vector_key::KeyMaker;
use embermesh_vector_store::RedisTuning;

use crate::harness::{Bench, Caller, SPACE, row};

/// With time enough on a busy machine.
pub const PATIENT: RedisTuning = RedisTuning { timeout_ms: 5_000, failures: 3, rest_ms: 20 };
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Admin {
    cache: CacheJobsClient<Transport>,
    jobs: JobsClient<Transport>,
    vectors: VectorCacheClient<Transport>,
    context: CallContext,
}

impl Admin {
    pub fn of(bench: &Bench, caller: &Caller) -> Self {
        let metrics = GrpcMetrics::new(&Metrics::default()).unwrap();
        let mut context = caller.context.clone();
        context.principal.scopes = Scopes::parse(["admin"]).unwrap();
        Self {
            cache: CacheJobsClient::new(in_process(bench.store.cache_jobs_server(), &metrics)),
            jobs: JobsClient::new(in_process(bench.store.jobs_server(), &metrics)),
            vectors: VectorCacheClient::new(in_process(bench.store.vector_cache_server(), &metrics)),
            context,
        }
    }

    pub async fn warm(&self, change: impl FnOnce(&mut StartWarmRequest)) -> Job {
        let mut request = StartWarmRequest {
            tenant_id: self.context.principal.tenant.to_string(),
            rows_per_agent: 100,
            stamp: 7,
            ttl_seconds: 600,
            models: vec![WarmModel { id: "model".into(), distinguishes_input_type: false }],
            ..StartWarmRequest::default()
        };
        change(&mut request);
        let started = self.cache.clone().start_warm(self.context.request(request)).await.unwrap();
        self.ended(started.into_inner().job_id).await
    }

    async fn clear(&self, number: i64) -> Job {
        let tenant_id = self.context.principal.tenant.to_string();
        let request = StartClearRequest { tenant_id, number, ..StartClearRequest::default() };
        let started = self.cache.clone().start_clear(self.context.request(request)).await.unwrap();
        self.ended(started.into_inner().job_id).await
    }

    async fn job(&self, job_id: &str) -> Result<Job, Error> {
        let request = GetJobRequest { job_id: job_id.to_owned() };
        let answer = self.jobs.clone().get_job(self.context.request(request)).await;
        answer.map(tonic::Response::into_inner).map_err(Error::from)
    }

    async fn ended(&self, id: String) -> Job {
        let end = Instant::now() + PATIENCE;
        loop {
            let job = self.job(&id).await.unwrap();
            if matches!(job.state.as_str(), "done" | "failed") {
                return job;
            }
            assert!(Instant::now() < end, "{job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What Redis has for a text.
    async fn kept(&self, input_type: &str, text: &str) -> KeptVector {
        let tenant = self.context.principal.tenant.uuid();
        let key = KeyMaker::new(tenant.as_bytes(), SPACE, input_type).key(text);
        let request = GetVectorsRequest { keys: vec![key.0.to_vec().into()] };
        self.vectors.clone().get_vectors(request).await.unwrap().into_inner().found.remove(0)
    }
}

#[tokio::test]
async fn rows_are_warmed_under_the_keys_that_routers_ask_for() {
    let redis = TestRedis::start();
    let bench = Bench::with_redis(&redis.url(), PATIENT).await;
    let caller = bench.caller();
    let admin = Admin::of(&bench, &caller);
    let of = |text: &str, model: &str, input_type: &str| {
        let mut new = row(text, &[0.6, 0.8, 0.0, 0.0]);
        (new.model, new.input_type) = (model.into(), input_type.into());
        new
    };
    caller
        .put(vec![
            of("plain", "model", "document"),
            of("asymmetric", "other", "query"),
            of("of a model that is gone", "gone", "document"),
        ])
        .await;
    let job = admin
        .warm(|warm| warm.models.push(WarmModel { id: "other".into(), distinguishes_input_type: true }))
        .await;
    assert_eq!((job.state.as_str(), job.done, job.total, job.changed), ("done", 3, Some(3), 2), "{job:?}");
    assert!(job.note.unwrap().starts_with("1 rows were left out"));
    let plain = admin.kept("", "plain").await;
    assert_eq!((plain.stamp, plain.made_unix_ms), (7, 1_763_164_800_000));
    let numbers = embermesh_proto::from_le_bytes(&plain.vector).unwrap();
    let length: f32 = numbers.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-6 && (numbers[0] - 0.6).abs() < 1e-3, "{numbers:?}");
    assert!(!admin.kept("query", "asymmetric").await.vector.is_empty());
    for (input_type, text) in [("document", "plain"), ("", "asymmetric"), ("", "of a model that is gone")] {
        assert!(admin.kept(input_type, text).await.vector.is_empty(), "{text}");
    }

    // what is there and was not cleared keeps its own vector; what was cleared does not
    let again = admin.warm(|warm| (warm.stamp, warm.cleared) = (9, 5)).await;
    assert_eq!((again.state.as_str(), admin.kept("", "plain").await.stamp), ("done", 9));
    // an order between the two stamps
    assert_eq!(admin.clear(9).await.changed, 1, "the asymmetric one is older than the order");
    assert_eq!(admin.kept("", "plain").await.stamp, 9);
    let job = admin.clear(10).await;
    assert_eq!((job.kind.as_str(), job.changed, job.done == job.total.unwrap()), ("cache_clear", 1, true));
    assert!(admin.kept("", "plain").await.vector.is_empty());
}

#[tokio::test]
async fn each_agent_and_space_gives_its_share_and_the_most_used_first() {
    let redis = TestRedis::start();
    let bench = Bench::with_redis(&redis.url(), PATIENT).await;
    let caller = bench.caller();
    let admin = Admin::of(&bench, &caller);
    let of = |agent: &str, n: u32| {
        let mut new = row(&format!("{agent} {n}"), &[1.0, n as f32, 0.0, 0.0]);
        (new.model, new.agent_id) = ("model".into(), agent.into());
        new
    };
    for n in 0..10 {
        caller.put(vec![of("a", n), of("b", n)]).await;
        bench.clock.advance(Duration::from_secs(1));
    }
    let job = admin.warm(|warm| warm.rows_per_agent = 3).await;
    assert_eq!((job.done, job.total, job.changed), (6, Some(6), 6), "{job:?}");
    assert!(!admin.kept("", "a 9").await.vector.is_empty() && admin.kept("", "a 6").await.vector.is_empty());

    for _ in 0..2 {
        caller.put(vec![of("b", 1)]).await;
    }
    caller.put(vec![of("b", 2)]).await;
    bench.store.maintain().await.unwrap();
    redis.cli(&["FLUSHALL"]);
    let job =
        admin.warm(|warm| (warm.agent_id, warm.most_used, warm.rows_per_agent) = ("b".into(), true, 3)).await;
    assert_eq!((job.done, job.total), (3, Some(3)), "{job:?}");
    for (text, expected) in [("b 1", true), ("b 2", true), ("b 9", true), ("b 8", false), ("a 9", false)] {
        assert_eq!(!admin.kept("", text).await.vector.is_empty(), expected, "{text}");
    }
}

#[tokio::test]
async fn a_job_is_its_tenants_and_an_administrators() {
    let bench = Bench::start().await;
    let (caller, stranger) = (bench.caller(), bench.caller());
    let (admin, stranger) = (Admin::of(&bench, &caller), Admin::of(&bench, &stranger));
    let job = admin.clear(3).await;
    assert_eq!((job.state.as_str(), job.changed), ("done", 0));
    assert!(job.note.unwrap().contains("not configured"));
    assert_eq!(admin.warm(|_| {}).await.state, "failed");
    assert_eq!(stranger.job(&job.job_id).await.unwrap_err().code, Code::NotFound);
    assert_eq!(admin.job("nonsense").await.unwrap_err().code, Code::NotFound);
    let plain = Admin { context: caller.context.clone(), ..admin };
    assert_eq!(plain.job(&job.job_id).await.unwrap_err().code, Code::Forbidden);

    bench.clock.advance(Duration::from_secs(8 * 24 * 3600));
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM jobs").await, 0);
}
