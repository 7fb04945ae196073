use embermesh_cache::testing::TestRedis;

use super::*;

#[tokio::test]
async fn what_is_put_comes_back_in_order_with_gaps_where_nothing_is() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..300), TTL).await.unwrap();
    let asked: Vec<VectorKey> = (0..600).rev().map(key).collect();
    let found = cache.get_many(&asked).await.unwrap();
    assert_eq!(found.len(), 600);
    for (n, found) in (0..600).rev().zip(found) {
        assert_eq!(found, (n < 300).then(|| kept(n)), "{n}");
    }
    assert_eq!(cache.get_many(&[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_batch_is_one_command_in_each_direction() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..100), TTL).await.unwrap();
    redis.cli(&["CONFIG", "RESETSTAT"]);
    let keys: Vec<VectorKey> = (0..100).map(key).collect();
    assert!(cache.get_many(&keys).await.unwrap().iter().all(Option::is_some));
    let stats = redis.cli(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_mget:calls=1,"), "{stats}");
    assert!(!stats.contains("cmdstat_get:"), "{stats}");
}

#[tokio::test]
async fn keys_are_found_by_the_operators_scan_and_expire_within_the_jitter() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..50), TTL).await.unwrap();
    let keys = redis.cli(&["--scan", "--pattern", "embedding:*"]);
    let expiries: Vec<u64> =
        keys.lines().map(|key| redis.cli(&["PEXPIRETIME", key]).parse().unwrap()).collect();
    assert_eq!(expiries.len(), 50);
    let now: f64 = redis.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    for expiry in &expiries {
        let left = *expiry as f64 / 1000.0 - now;
        // the clock went on since they were put
        assert!((850.0 - 60.0..=1151.0).contains(&left), "{left}");
    }
    let (first, last) = (expiries.iter().min().unwrap(), expiries.iter().max().unwrap());
    assert!(last - first > 100_000, "{expiries:?}");
}

#[tokio::test]
async fn an_expired_vector_is_a_miss() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..1), Duration::from_millis(20)).await.unwrap();
    let end = Instant::now() + PATIENCE;
    while cache.get_many(&[key(0)]).await.unwrap()[0].is_some() {
        assert!(Instant::now() < end, "it does not expire");
    }
}

#[tokio::test]
async fn what_somebody_else_wrote_under_a_key_is_a_miss_and_nothing_else() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..6), TTL).await.unwrap();
    let names: Vec<String> =
        redis.cli(&["--scan", "--pattern", "embedding:v2:*"]).lines().map(Into::into).collect();
    let name =
        |n: u32| names.iter().find(|name| name.contains(&format!(":00000000:{n:02x}"))).unwrap().as_str();
    redis.cli(&["SET", name(0), "nonsense"]);
    redis.cli(&["SET", name(1), ""]);
    redis.cli(&["DEL", name(2)]);
    redis.cli(&["LPUSH", name(2), "a list"]);
    redis.cli(&["SETRANGE", name(3), "40", "x"]);
    // a whole and valid value, but of another text
    redis.cli(&["COPY", name(5), name(4), "REPLACE"]);
    let asked: Vec<VectorKey> = (0..6).map(key).collect();
    let found = cache.get_many(&asked).await.unwrap();
    assert_eq!(found, [None, None, None, None, None, Some(kept(5))]);
}

#[tokio::test]
async fn a_flushed_redis_misses_and_fills_again() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    cache.put_many(&all_of(0..3), TTL).await.unwrap();
    redis.cli(&["FLUSHALL"]);
    assert_eq!(cache.get_many(&[key(1)]).await, Ok(vec![None]));
    cache.put_many(&all_of(1..2), TTL).await.unwrap();
    assert_eq!(cache.get_many(&[key(1)]).await, Ok(vec![Some(kept(1))]));
}
