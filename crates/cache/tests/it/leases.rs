use embermesh_cache::{Lease, Limit, USE_WITHIN, testing::TestRedis};
use futures::future::join_all;

use super::*;

/// Seconds until a bucket has regained one.
fn interval(limit: Limit<'_>) -> f64 {
    (Duration::from_secs(60) + USE_WITHIN).as_secs_f64() / (limit.per_minute - limit.burst + 1) as f64
}

#[tokio::test]
async fn a_burst_is_there_at_once_and_then_the_wait_is_told() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "p/m", per_minute: 60, burst: 6 };
    assert_eq!(cache.lease(limit, 4, 1).await, Ok(Lease { granted: 4, retry_after: Duration::ZERO }));
    // fewer than wanted, but not fewer than needed
    assert_eq!(cache.lease(limit, 4, 2).await.unwrap().granted, 2);
    let Lease { granted, retry_after } = cache.lease(limit, 4, 3).await.unwrap();
    assert_eq!(granted, 0);
    assert!(retry_after.as_secs_f64() <= 3.0 * interval(limit), "{retry_after:?}");
    assert!(retry_after.as_secs_f64() > 2.0 * interval(limit) - 30.0, "{retry_after:?}");
    // another name, another limit
    assert_eq!(cache.lease(Limit { name: "p/n", ..limit }, 6, 6).await.unwrap().granted, 6);
    let expiry: i64 = redis.cli(&["PTTL", "embedding:limit:p/m"]).parse().unwrap();
    assert!((1..130_000).contains(&expiry), "{expiry}");
}

#[tokio::test]
async fn the_smallest_limit_gives_one_and_no_more() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "tiny", per_minute: 1, burst: 1 };
    assert_eq!(cache.lease(limit, 10, 1).await.unwrap().granted, 1);
    assert_eq!(cache.lease(limit, 10, 1).await.unwrap().granted, 0);
    assert_eq!(cache.lease(Limit { name: "none", per_minute: 0, burst: 0 }, 1, 1).await.unwrap().granted, 0);
    let absurd = Limit { name: "absurd", per_minute: u64::MAX, burst: u64::MAX / 2 };
    assert!(cache.lease(absurd, u64::MAX, 1).await.unwrap().granted > 1 << 39);
}

#[tokio::test]
async fn a_limit_that_is_all_burst_is_a_sliding_window() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "agent", per_minute: 100, burst: 100 };
    assert_eq!(cache.lease(limit, 70, 1).await.unwrap().granted, 70);
    assert_eq!(cache.lease(limit, 70, 1).await.unwrap().granted, 30);
    let refused = cache.lease(limit, 20, 10).await.unwrap();
    assert_eq!(refused.granted, 0);
    assert!(refused.retry_after <= Duration::from_secs(63), "{refused:?}");

    // as if it had all been a while ago: 70 have just ceased to count, 30 count for half a minute more
    let now: u64 = redis.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let old = format!("{}:70 {}:30", now - 63, now - 30);
    redis.cli(&["SET", "embedding:limit:agent", &old]);
    assert_eq!(cache.lease(limit, 71, 71).await.unwrap().granted, 0);
    assert_eq!(cache.lease(limit, 100, 1).await.unwrap().granted, 70);
    let refused = cache.lease(limit, 1, 1).await.unwrap();
    assert!((20..=33).contains(&refused.retry_after.as_secs()), "{refused:?}");
    assert!(redis.cli(&["TTL", "embedding:limit:agent"]).parse::<u64>().unwrap() <= 63);
}

#[tokio::test]
async fn a_call_larger_than_the_burst_gets_its_turn_before_smaller_ones() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    // one in 8 ms
    let limit = Limit { name: "large", per_minute: 7500, burst: 10 };
    assert_eq!(cache.lease(limit, 40, 40).await.unwrap().granted, 40);
    let end = Instant::now() + PATIENCE;
    let mut small = 0;
    while cache.lease(limit, 30, 30).await.unwrap().granted == 0 {
        small += cache.lease(limit, 1, 1).await.unwrap().granted;
        assert!(Instant::now() < end, "it never gets its turn");
    }
    assert_eq!(small, 0);
    assert_eq!(cache.lease(limit, 1, 1).await.unwrap().granted, 0);
}

#[tokio::test]
async fn a_claim_that_is_not_renewed_lapses() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "claim", per_minute: 600, burst: 10 };
    assert_eq!(cache.lease(limit, 10, 10).await.unwrap().granted, 10);
    assert_eq!(cache.lease(limit, 600, 600).await.unwrap().granted, 0);
    let end = Instant::now() + PATIENCE;
    while cache.lease(limit, 1, 1).await.unwrap().granted == 0 {
        assert!(Instant::now() < end, "the claim holds for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn leases_go_on_after_scripts_are_flushed_and_after_a_restart() {
    let mut redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "x", per_minute: 60, burst: 6 };
    assert_eq!(cache.lease(limit, 2, 1).await.unwrap().granted, 2);
    redis.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(cache.lease(limit, 2, 1).await.unwrap().granted, 2);
    redis.restart();
    let end = Instant::now() + PATIENCE;
    let granted = loop {
        match cache.lease(limit, 6, 6).await {
            Ok(lease) => break lease.granted,
            Err(away) => assert!(Instant::now() < end, "{away}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(granted, 6);
}

#[tokio::test]
async fn a_limit_that_somebody_overwrote_is_a_new_one() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    let limit = Limit { name: "x", per_minute: 60, burst: 6 };
    let key = "embedding:limit:x";
    // the last is what a clock leaves behind that was far ahead
    for written in [["SET", key, "nonsense"], ["LPUSH", key, "list"], ["SET", key, "9000000000000000 0 0"]] {
        redis.cli(&["DEL", key]);
        redis.cli(&written);
        let granted = cache.lease(limit, 6, 1).await.unwrap();
        if written[2].starts_with('9') {
            assert_eq!(granted.granted, 0);
            assert!(granted.retry_after <= Duration::from_secs(2), "{granted:?}");
        } else {
            assert_eq!(granted.granted, 6, "{written:?}");
        }
    }
}

/// What was granted, and between which moments.
struct Grant {
    asked: Instant,
    told: Instant,
    granted: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_window_ever_sees_more_than_the_limit_whoever_asks() {
    const RUN: Duration = Duration::from_secs(4);
    const WINDOW: Duration = Duration::from_secs(2);
    let redis = TestRedis::start();
    let limit = Limit { name: "shared", per_minute: 6000, burst: 40 };
    let clients = [connected(&patient(&redis.url())).await, connected(&patient(&redis.url())).await];
    let end = Instant::now() + RUN;
    let asking = (0..4_u64).map(|n| {
        let cache = &clients[n as usize % 2];
        async move {
            let mut grants = Vec::new();
            // different appetites, one beyond the burst
            let (want, at_least) = [(1, 1), (10, 3), (40, 20), (60, 60)][n as usize];
            while Instant::now() < end {
                let asked = Instant::now();
                let lease = cache.lease(limit, want, at_least).await.unwrap();
                grants.push(Grant { asked, told: Instant::now(), granted: lease.granted });
                assert!(lease.granted == 0 || (at_least..=want).contains(&lease.granted));
                tokio::time::sleep(lease.retry_after.min(Duration::from_millis(5))).await;
            }
            grants
        }
    });
    let mut grants: Vec<Grant> = join_all(asking).await.into_iter().flatten().collect();
    grants.retain(|grant| grant.granted > 0);
    let most = limit.burst + (WINDOW.as_secs_f64() / interval(limit)).ceil() as u64 - 1;
    for first in &grants {
        let from = first.asked;
        // those that were granted within the window for certain
        let within = grants.iter().filter(|g| g.asked >= from && g.told < from + WINDOW);
        let granted: u64 = within.map(|grant| grant.granted).sum();
        assert!(granted <= most, "{granted} in {WINDOW:?}, {most} may be");
    }
    // and not for being stingy
    let all: u64 = grants.iter().map(|grant| grant.granted).sum();
    let due = RUN.as_secs_f64() / interval(limit);
    assert!(all as f64 >= 0.5 * due, "{all} of {due}");
}
