use embermesh_cache::{Limit, testing::TestRedis};

use super::*;

/// What a call costs, in microseconds: `cargo test --release -p embermesh-cache figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures, proves nothing"]
async fn figures() {
    const ROUNDS: u32 = 2_000;
    let redis = TestRedis::start();
    let cache = connected(&RedisSettings { rest: Duration::from_secs(600), ..patient(&redis.url()) }).await;
    let vector = vec![7_u8; 4 * 1536];
    let put: Vec<(VectorKey, Kept)> = (0..100)
        .map(|n| {
            (
                key(n),
                Kept::new(vector.clone().into(), Facts { deployment: "openai".into(), ..Facts::default() })
                    .unwrap(),
            )
        })
        .collect();
    let keys: Vec<VectorKey> = (0..100).map(key).collect();
    let limit = Limit { name: "figures", per_minute: 60_000, burst: 6_000 };

    let started = Instant::now();
    for _ in 0..ROUNDS / 10 {
        cache.put_many(&put, TTL).await.unwrap();
    }
    println!("put 100 of 1,536: {:?}", started.elapsed() / (ROUNDS / 10));
    for count in [1, 100] {
        let started = Instant::now();
        for _ in 0..ROUNDS {
            cache.get_many(&keys[..count]).await.unwrap();
        }
        println!("get {count} of 1,536: {:?}", started.elapsed() / ROUNDS);
    }
    for burst in [6_000, 60_000] {
        let started = Instant::now();
        for _ in 0..ROUNDS {
            cache.lease(Limit { burst, ..limit }, 1, 1).await.unwrap();
        }
        println!("lease of 1, burst {burst}: {:?}", started.elapsed() / ROUNDS);
        redis.cli(&["DEL", "embedding:limit:figures"]);
    }
    let hurried = RedisSettings { rest: Duration::from_secs(600), ..RedisSettings::default() };
    let cache = connected(&RedisSettings { url: Some(redis.url().into()), ..hurried }).await;
    redis.pause();
    let mut timeouts = Vec::new();
    loop {
        let started = Instant::now();
        match cache.get_many(&keys[..1]).await {
            Err(Away::Resting) => break,
            _ => timeouts.push(started.elapsed()),
        }
    }
    println!("hanging: {timeouts:?}");
    let started = Instant::now();
    for _ in 0..1_000_000 {
        let _resting = cache.get_many(&keys[..1]).await;
    }
    println!("resting: {:?}", started.elapsed() / 1_000_000);
}
