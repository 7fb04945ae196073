use std::time::Instant;

use bytes::Bytes;
use embermesh_telemetry::Metrics;
use embermesh_types::{TenantId, TokenCount};

use super::*;
use crate::{cache::key_maker, pace::tests::Store};

const HOUR: Duration = Duration::from_secs(3600);

fn router(store: &Store) -> Tiers {
    Tiers {
        memory: Cache::new(1 << 20, HOUR),
        redis: Kept::new(store.transport.clone()),
        suspicions: Arc::default(),
        metrics: RouterMetrics::new(&Metrics::default()).unwrap(),
        tasks: Tasks::new(),
        clock: Clock::system(),
        freshness: Arc::new(Freshness::new(HOUR)),
    }
}

fn cached(stamp: i64) -> Cached {
    let now = Clock::system().now();
    let vector = Bytes::from_static(&[1; 12]);
    Cached { vector, tokens: TokenCount(1), provider: "p".into(), made: now, kept: now, stamp }
}

#[tokio::test]
async fn what_a_router_that_was_away_keeps_is_served_by_nobody_who_knows_the_order() {
    let store = Store::with_redis().await;
    let (away, informed) = (router(&store), router(&store));
    let space: SpaceId = "m@3".parse().unwrap();
    let key = key_maker(TenantId::SYSTEM, &space, "").key("x");
    let wanted = |floor| Wanted { space: &space, max_age: HOUR, floor };
    let end = Instant::now() + Duration::from_secs(30);
    // one router has heard of the order 5, the other puts with what it knows
    while informed.in_redis(&[key], &wanted(4)).await.is_empty() {
        away.redis.put(vec![(key, cached(4))], HOUR).await;
        assert!(Instant::now() < end, "redis does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(informed.in_memory(&key, &wanted(4)).is_some());
    assert!(informed.in_memory(&key, &wanted(5)).is_none(), "not from memory");
    assert!(informed.at_any_age(&key, &space, 5).is_none(), "nor in need");
    assert!(informed.in_redis(&[key], &wanted(5)).await.is_empty(), "nor from redis");
    away.memory.insert(key, cached(4));
    assert!(away.in_memory(&key, &wanted(4)).is_some());
    // once it knows the order too, its own memory is as good as empty
    assert!(away.in_memory(&key, &wanted(5)).is_none());
    // and what is made from then on is everybody's
    while informed.in_redis(&[key], &wanted(5)).await.is_empty() {
        away.redis.put(vec![(key, cached(5))], HOUR).await;
        assert!(Instant::now() < end, "redis does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_stored_vector_is_as_fresh_as_its_place_in_the_cache_and_as_suspect_as_its_maker() {
    let store = Store::start(None).await;
    let tiers = router(&store);
    let space: SpaceId = "m@3".parse().unwrap();
    let key = key_maker(TenantId::SYSTEM, &space, "").key("x");
    let long_ago = Clock::system().now() - 100 * HOUR;
    tiers.memory.insert(key, Cached { made: long_ago, ..cached(0) });
    let wanted = Wanted { space: &space, max_age: HOUR, floor: 0 };
    assert!(tiers.in_memory(&key, &wanted).is_some(), "kept just now");
    tiers.suspicions.add("p", "m", long_ago - HOUR, long_ago + HOUR);
    assert!(tiers.in_memory(&key, &wanted).is_none(), "made while its provider had drifted");
}
