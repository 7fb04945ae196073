use embermesh_cache::{Limit, testing::TestRedis};

use super::*;

const LIMIT: Limit<'_> = Limit { name: "x", per_minute: 60, burst: 6 };

/// As in production, but with time enough on a busy machine for what has to succeed.
fn hurried(redis: &TestRedis) -> RedisSettings {
    RedisSettings {
        command_timeout: Duration::from_millis(200),
        rest: Duration::from_secs(600),
        ..patient(&redis.url())
    }
}

/// Asks until the breaker is open; every call on the way has to fail.
async fn until_resting(cache: &RedisCache) {
    for _ in 0..3 {
        let away = cache.get_many(&[key(1)]).await.unwrap_err();
        assert!(matches!(away, Away::TooLate | Away::Failed), "{away:?}");
    }
    assert_eq!(cache.get_many(&[key(1)]).await, Err(Away::Resting));
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_away_and_used_once_it_comes() {
    let mut redis = TestRedis::not_yet();
    let cache = RedisCache::connect(&patient(&redis.url()), &Tasks::new()).unwrap();
    assert_eq!(cache.get_many(&[key(1)]).await, Err(Away::NotConnected));
    assert_eq!(cache.put_many(&all_of(0..1), TTL).await, Err(Away::NotConnected));
    assert_eq!(cache.lease(LIMIT, 1, 1).await, Err(Away::NotConnected));
    redis.restart();
    until_answered(&cache).await;
    until_put(&cache, &all_of(0..1)).await;
    assert_eq!(cache.get_many(&[key(0)]).await, Ok(vec![Some(kept(0))]));
}

#[tokio::test]
async fn a_redis_that_dies_is_away_until_it_is_back() {
    let mut redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    redis.kill();
    let end = Instant::now() + PATIENCE;
    while cache.get_many(&[key(0)]).await.is_ok() {
        assert!(Instant::now() < end);
    }
    redis.restart();
    until_answered(&cache).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_timeout_a_few_times_and_then_nothing() {
    let redis = TestRedis::start();
    let cache = connected(&hurried(&redis)).await;
    redis.pause();
    until_resting(&cache).await;
    // the same for all that ask the same Redis
    assert_eq!(cache.put_many(&all_of(0..1), TTL).await, Err(Away::Resting));
    assert_eq!(cache.lease(LIMIT, 1, 1).await, Err(Away::Resting));
}

#[tokio::test]
async fn a_redis_that_hung_is_used_again_after_a_rest() {
    let redis = TestRedis::start();
    let settings = RedisSettings { rest: Duration::from_millis(20), ..hurried(&redis) };
    let cache = connected(&settings).await;
    redis.pause();
    while cache.get_many(&[key(1)]).await != Err(Away::Resting) {}
    redis.resume();
    until_answered(&cache).await;
}

#[tokio::test]
async fn a_redis_that_refuses_is_away() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(cache.put_many(&all_of(0..3), TTL).await, Err(Away::Failed));
    assert_eq!(cache.get_many(&[key(1)]).await, Ok(vec![None]));
}

#[tokio::test]
async fn a_wrong_password_is_away_and_not_an_end() {
    let redis = TestRedis::start();
    redis.cli(&["CONFIG", "SET", "requirepass", "right"]);
    let url = |password: &str| redis.url().replace("redis://", &format!("redis://:{password}@"));
    let cache = RedisCache::connect(&patient(&url("wrong")), &Tasks::new()).unwrap();
    for _ in 0..20 {
        assert!(cache.get_many(&[key(0)]).await.is_err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connected(&patient(&url("right"))).await;
}
