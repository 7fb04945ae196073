//! What routers keep and share through the store.

use std::time::{Duration, Instant};

use embermesh_cache::testing::TestRedis;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{
    GetVectorsReply, GetVectorsRequest, KeptVector, LeaseReply, LeaseRequest, PutVector, PutVectorsReply,
    PutVectorsRequest, throttle_client::ThrottleClient, vector_cache_client::VectorCacheClient,
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, MAX_MESSAGE_BYTES, Transport, in_process};
use embermesh_vector_store::RedisTuning;

use crate::harness::Bench;

/// A router's view.
struct Router {
    vectors: VectorCacheClient<Transport>,
    throttle: ThrottleClient<Transport>,
}

impl Router {
    fn of(bench: &Bench) -> Self {
        let metrics = GrpcMetrics::new(&Metrics::default()).unwrap();
        let vectors = VectorCacheClient::new(in_process(bench.store.vector_cache_server(), &metrics));
        Self {
            vectors: vectors
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            throttle: ThrottleClient::new(in_process(bench.store.throttle_server(), &metrics)),
        }
    }

    async fn get(&self, keys: Vec<Vec<u8>>) -> Result<GetVectorsReply, Error> {
        let request = GetVectorsRequest { keys: keys.into_iter().map(Into::into).collect() };
        let reply = self.vectors.clone().get_vectors(request).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    async fn put(&self, vectors: Vec<PutVector>, ttl_seconds: u64) -> Result<PutVectorsReply, Error> {
        let reply = self.vectors.clone().put_vectors(PutVectorsRequest { vectors, ttl_seconds }).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    async fn lease(&self, limit: &str, want: u64) -> Result<LeaseReply, Error> {
        let request = LeaseRequest { limit: limit.to_owned(), per_minute: 60, burst: 6, want, at_least: 1 };
        let reply = self.throttle.clone().lease(request).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    /// Puts until Redis is connected.
    async fn put_until_kept(&self, vectors: Vec<PutVector>) {
        let end = Instant::now() + Duration::from_secs(30);
        let keys: Vec<Vec<u8>> = vectors.iter().map(|vector| vector.key.to_vec()).collect();
        while self.put(vectors.clone(), 60).await.unwrap().away || self.get(keys.clone()).await.unwrap().away
        {
            assert!(Instant::now() < end, "redis is not connected");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// With time enough on a busy machine.
const PATIENT: RedisTuning = RedisTuning { timeout_ms: 5_000, failures: 3, rest_ms: 20 };

fn vector(n: u8) -> PutVector {
    let value = KeptVector {
        vector: vec![n; 8].into(),
        tokens: u64::from(n),
        deployment: "openai".into(),
        made_unix_ms: 1_763_164_800_000,
        kept_unix_ms: 1_763_164_800_001,
        stamp: 3,
    };
    PutVector { key: vec![n; 44].into(), value: Some(value) }
}

#[tokio::test]
async fn two_stores_on_one_redis_share_vectors_and_limits() {
    let redis = TestRedis::start();
    let benches =
        [Bench::with_redis(&redis.url(), PATIENT).await, Bench::with_redis(&redis.url(), PATIENT).await];
    let [one, other] = [Router::of(&benches[0]), Router::of(&benches[1])];
    other.put_until_kept(vec![vector(9)]).await;
    one.put_until_kept(vec![vector(1), vector(2)]).await;

    let reply = other.get([2, 7, 1].map(|n| vec![n; 44]).to_vec()).await.unwrap();
    assert!(!reply.away);
    let [two, seven, first] = reply.found.try_into().unwrap();
    assert_eq!((Some(two), Some(first)), (vector(2).value, vector(1).value));
    assert_eq!(seven, KeptVector::default());

    assert_eq!(one.lease("p/m", 4).await.unwrap().granted, 4);
    assert_eq!(other.lease("p/m", 4).await.unwrap().granted, 2);
    let refused = one.lease("p/m", 4).await.unwrap();
    assert!(!refused.away && refused.granted == 0 && refused.retry_after_ms > 0, "{refused:?}");

    let metrics = benches[0].metrics.render();
    assert!(metrics.contains("redis_call_duration_seconds_count{call=\"lease\"} 2"), "{metrics}");
}

#[tokio::test]
async fn without_redis_everything_is_away_and_nothing_fails() {
    let absent = TestRedis::not_yet();
    let benches = [Bench::start().await, Bench::with_redis(&absent.url(), PATIENT).await];
    for bench in &benches {
        let router = Router::of(bench);
        let got = router.get(vec![vec![1; 44]]).await.unwrap();
        assert_eq!(got, GetVectorsReply { away: true, found: Vec::new() });
        assert!(router.put(vec![vector(1)], 60).await.unwrap().away);
        assert!(router.lease("p/m", 1).await.unwrap().away);
    }
    let metrics = benches[1].metrics.render();
    let counted = "redis_call_failures_total{call=\"get\",reason=\"not_connected\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_the_callers_mistake() {
    let bench = Bench::start().await;
    let router = Router::of(&bench);
    let mut odd = vector(1);
    odd.value.as_mut().unwrap().vector = vec![0; 7].into();
    let short = PutVector { key: vec![1; 43].into(), ..vector(1) };
    let bare = PutVector { value: None, ..vector(1) };
    for vectors in [vec![odd], vec![short], vec![bare], vec![vector(1); 4_097]] {
        assert_eq!(router.put(vectors, 60).await.unwrap_err().code, Code::Invalid);
    }
    assert_eq!(router.put(vec![vector(1)], 0).await.unwrap_err().code, Code::Invalid);
    assert_eq!(router.get(vec![vec![1; 45]]).await.unwrap_err().code, Code::Invalid);
    assert_eq!(router.get(vec![vec![1; 44]; 4_097]).await.unwrap_err().code, Code::Invalid);
    assert_eq!(router.lease("", 1).await.unwrap_err().code, Code::Invalid);
}
