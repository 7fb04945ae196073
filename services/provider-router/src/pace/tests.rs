use std::time::SystemTime;

use embermesh_cache::testing::TestRedis;
use embermesh_config::{Redis, Secret};
use embermesh_lifecycle::Readiness;
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::internal::v1::LeaseRequest;
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, InProcess};
use embermesh_types::ManualClock;
use embermesh_vector_store::{Parts, RedisTuning, Settings, VectorStore};
use futures::future::join_all;
use tokio::time::timeout;

use super::*;

/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The real vector-store, on a real Redis or without.
pub(crate) struct Store {
    pub redis: Option<TestRedis>,
    pub transport: Transport,
    pub tasks: Tasks,
}

impl Store {
    /// Once Redis is connected, if there is one.
    pub(crate) async fn start(redis: Option<TestRedis>) -> Self {
        let store = Self::start_early(redis).await;
        let end = Instant::now() + PATIENCE;
        while store.redis.is_some() && store.is_away().await {
            assert!(Instant::now() < end, "redis is not connected");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        store
    }

    async fn start_early(redis: Option<TestRedis>) -> Self {
        let database = TestDatabase::create().await;
        let (tasks, metrics) = (Tasks::new(), Metrics::default());
        let parts = Parts {
            replicas: Default::default(),
            database: database.url().clone(),
            redis: Redis { url: redis.as_ref().map(|redis| Secret::new(redis.url())), ..Redis::default() },
            tasks: tasks.clone(),
            readiness: Readiness::default(),
            metrics: metrics.clone(),
            clock: ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_164_800)).clock(),
            tenants: Subscription::unknown(),
        };
        let redis_tuning = RedisTuning { timeout_ms: 5_000, ..RedisTuning::default() };
        let settings = Settings { redis: redis_tuning, ..Settings::default() };
        let store = VectorStore::start(settings, parts).await.unwrap();
        let transport = InProcess::new(GrpcMetrics::new(&metrics).unwrap())
            .service(store.throttle_server())
            .service(store.vector_cache_server())
            .transport();
        Self { redis, transport, tasks }
    }

    pub(crate) async fn with_redis() -> Self {
        Self::start(Some(TestRedis::start())).await
    }

    async fn is_away(&self) -> bool {
        let limit = "is redis there".to_owned();
        let request = LeaseRequest { limit, per_minute: 60_000, burst: 6_000, want: 1, at_least: 1 };
        self.throttle().lease(request).await.unwrap().into_inner().away
    }

    pub(crate) fn throttle(&self) -> ThrottleClient<Transport> {
        ThrottleClient::new(self.transport.clone())
    }

    /// The pace of one router of two.
    fn pace(&self, name: &str, calls: Option<u32>, tokens: Option<u64>) -> Pace {
        let limit = RateLimit { requests_per_minute: calls, tokens_per_minute: tokens };
        Pace::new(name, limit, Burst::Tenth, 2, &self.throttle(), &self.tasks)
    }
}

fn in_time() -> Instant {
    Instant::now() + PATIENCE
}

/// Takes as many calls as there are until `end`; the times of all.
async fn as_many_as_possible(pace: &Pace, end: Instant) -> Vec<Instant> {
    let mut taken = Vec::new();
    while Instant::now() < end {
        let now = Instant::now();
        match pace.try_take(now, 0) {
            Ok(()) => taken.push(now),
            Err(wait) => tokio::time::sleep(wait.min(Duration::from_millis(5))).await,
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_share_one_limit_and_no_window_sees_more() {
    const WINDOW: Duration = Duration::from_secs(2);
    let store = Store::with_redis().await;
    let paces = [store.pace("p", Some(6_000), None), store.pace("p", Some(6_000), None)];
    let end = Instant::now() + 2 * WINDOW;
    let taken = join_all(paces.iter().map(|pace| as_many_as_possible(pace, end))).await;
    assert!(taken.iter().all(|some| !some.is_empty()), "each gets its part");
    let mut taken = taken.concat();
    taken.sort_unstable();

    // as in a minute, with the second for which a lease may be held
    let interval = 62.0 / (6_000.0 - 600.0 + 1.0);
    let most = 600 + (3.0_f64 / interval).ceil() as usize - 1;
    for (at, first) in taken.iter().enumerate() {
        let within = taken[at..].partition_point(|other| *other < *first + WINDOW);
        assert!(within <= most, "{within} in {WINDOW:?}, {most} may be");
    }
    assert!(taken.len() > 600, "no more than the burst: {}", taken.len());
}

// BerriAI/litellm#27736, #40291: a limit of tokens that multiplies with the replicas
#[tokio::test(flavor = "multi_thread")]
async fn two_routers_share_the_tokens_of_one_limit() {
    const CALL: u64 = 100;
    let store = Store::with_redis().await;
    let paces = [store.pace("p", None, Some(600_000)), store.pace("p", None, Some(600_000))];
    let started = Instant::now();
    let spend = async |pace: &Pace| {
        let mut spent = 0;
        while started.elapsed() < Duration::from_secs(1) {
            match pace.try_take(Instant::now(), CALL) {
                Ok(()) => spent += CALL,
                Err(wait) => tokio::time::sleep(wait.min(Duration::from_millis(5))).await,
            }
        }
        spent
    };
    let spent = join_all(paces.iter().map(spend)).await;
    let seconds = started.elapsed().as_secs_f64();
    assert!(spent.iter().all(|spent| *spent > 0), "each gets its part: {spent:?}");
    // the burst, and what came back meanwhile
    let most = 60_000.0 + 10_000.0 * seconds;
    let sum = spent.iter().sum::<u64>() as f64;
    assert!(sum <= most, "{sum} of {most}");
}

#[tokio::test]
async fn without_redis_each_router_keeps_to_its_share() {
    let store = Store::start(None).await;
    let pace = store.pace("p", Some(6_000), None);
    let started = Instant::now();
    let taken = as_many_as_possible(&pace, started + Duration::from_secs(1)).await;
    let since = taken.last().unwrap().saturating_duration_since(started).as_secs_f64();
    // of two routers
    let most = 300.0 + (3_000.0 - 300.0) / 60.0 * since + 1.0;
    assert!((300.0..=most).contains(&(taken.len() as f64)), "{} of {most}", taken.len());
}

#[tokio::test]
async fn a_router_whose_redis_dies_goes_on_alone() {
    let mut store = Store::with_redis().await;
    let pace = store.pace("p", Some(6_000), None);
    pace.take(0, in_time()).await.unwrap();
    store.redis.as_mut().unwrap().kill();
    for _ in 0..50 {
        pace.take(0, in_time()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_used_alone_is_taken_from_the_shared_rate_once_it_is_back() {
    let mut store = Store::start_early(Some(TestRedis::not_yet())).await;
    let pace = store.pace("p", Some(60), None);
    // of the burst of 6, one of two routers may use 3
    for _ in 0..3 {
        pace.take(0, in_time()).await.unwrap();
    }
    let redis = store.redis.as_mut().unwrap();
    redis.restart();
    let end = Instant::now() + PATIENCE;
    while redis.cli(&["EXISTS", "embedding:limit:p:requests_per_minute"]) != "1" {
        let _alone = pace.try_take(Instant::now(), 0);
        assert!(Instant::now() < end, "the shared rate is not used again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let limit = "p:requests_per_minute".to_owned();
    let request = LeaseRequest { limit, per_minute: 60, burst: 6, want: 6, at_least: 1 };
    let left = store.throttle().lease(request).await.unwrap().into_inner();
    assert!(left.granted <= 4, "{left:?}");
}

#[test]
fn both_sides_mean_the_same_margin() {
    assert_eq!(shared_rate::MARGIN, embermesh_cache::USE_WITHIN);
}

#[tokio::test]
async fn a_call_that_would_come_too_late_is_refused_at_once() {
    for store in [Store::with_redis().await, Store::start(None).await] {
        let pace = store.pace("p", Some(2), None);
        pace.take(0, in_time()).await.unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        let late = timeout(Duration::from_secs(15), pace.take(0, soon)).await.unwrap().unwrap_err();
        assert_eq!(late.limit, "requests_per_minute");
        assert!(late.wait > Duration::from_secs(4) && late.wait <= Duration::from_secs(62), "{late:?}");
        let wait = pace.try_take(Instant::now(), 0).unwrap_err();
        assert!(wait > Duration::from_secs(4), "{wait:?}");
        assert!(pace.estimate(Instant::now(), 3, 0) > pace.estimate(Instant::now(), 0, 0));
    }
}

#[tokio::test]
async fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let store = Store::with_redis().await;
    let pace = store.pace("p", Some(1_200), None);
    let served = std::sync::Mutex::new(Vec::new());
    let waiting = (0..140).map(|n| {
        let (pace, served) = (&pace, &served);
        async move {
            pace.take(0, in_time()).await.unwrap();
            served.lock().unwrap().push(n);
        }
    });
    join_all(waiting).await;
    assert_eq!(served.into_inner().unwrap(), (0..140).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_gives_up_waiting_holds_nobody_up() {
    let store = Store::with_redis().await;
    let pace = store.pace("p", Some(600), None);
    for _ in 0..60 {
        pace.take(0, in_time()).await.unwrap();
    }
    for _ in 0..5 {
        let given_up = timeout(Duration::from_millis(1), async {
            tokio::join!(pace.take(0, in_time()), pace.take(0, in_time()), pace.take(0, in_time()))
        });
        let _gone = given_up.await;
    }
    assert_eq!(pace.0.waiting.now(), (0, 0));
    pace.take(0, in_time()).await.unwrap();
}

#[tokio::test]
async fn nobody_overtakes_who_waits_in_line() {
    let store = Store::with_redis().await;
    let pace = store.pace("p", Some(600), None);
    for _ in 0..60 {
        pace.take(0, in_time()).await.unwrap();
    }
    let mut waiting = std::pin::pin!(pace.take(0, in_time()));
    while futures::poll!(&mut waiting).is_pending() {
        assert!(pace.try_take(Instant::now(), 0).is_err());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_call_larger_than_the_burst_waits_until_it_has_come_together() {
    let store = Store::with_redis().await;
    let pace = store.pace("p", None, Some(600_000));
    // the burst is 60,000
    pace.take(70_000, in_time()).await.unwrap();
    let small = async {
        for _ in 0..20 {
            pace.take(100, in_time()).await.unwrap();
        }
    };
    let other = store.pace("p", None, Some(600_000));
    let (large, ()) = tokio::join!(other.take(65_000, in_time()), small);
    large.unwrap();
    // more than a minute's worth counts as a minute's: it is not refused for ever
    let late = pace.take(10_000_000, Instant::now() + Duration::from_secs(1)).await.unwrap_err();
    assert!(late.wait <= Duration::from_secs(3_600), "{late:?}");
}

#[tokio::test]
async fn a_call_takes_from_both_limits_or_from_neither() {
    let alone = Store::start(None).await;
    let shared = Store::with_redis().await;
    for store in [&alone, &shared] {
        // one router: bursts of 10 calls and 10 tokens
        let limit = RateLimit { requests_per_minute: Some(100), tokens_per_minute: Some(100) };
        let pace = Pace::new("p", limit, Burst::Tenth, 1, &store.throttle(), &store.tasks);
        pace.take(10, in_time()).await.unwrap();
        for _ in 0..50 {
            assert!(pace.try_take(Instant::now(), 10).is_err());
        }
        let mut calls = 0;
        while pace.take(0, Instant::now() + Duration::from_millis(100)).await.is_ok() {
            calls += 1;
        }
        assert!(calls >= 8, "{calls}");
    }
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_through() {
    let store = Store::start(None).await;
    let pace = store.pace("p", Some(0), None);
    let late = pace.take(0, Instant::now() + Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(late.wait, Duration::from_secs(60));
    assert!(pace.try_take(Instant::now(), 0).is_err());
}

#[tokio::test]
async fn without_a_limit_nothing_waits() {
    let store = Store::start(None).await;
    let pace = store.pace("p", None, None);
    for _ in 0..1_000 {
        assert_eq!(pace.try_take(Instant::now(), 1_000_000), Ok(()));
    }
    assert_eq!(pace.estimate(Instant::now(), 1_000, 1_000_000), Duration::ZERO);
}
