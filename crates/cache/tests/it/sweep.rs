use embermesh_cache::{
    Swept,
    testing::{TestCluster, TestRedis},
};
use embermesh_vector_key::{KeyMaker, Keys};

use super::*;

async fn swept(cache: &RedisCache, which: &Keys, before: i64) -> Swept {
    let mut sweep = cache.sweep().await.unwrap();
    let mut sum = Swept::default();
    while let Some(page) = cache.sweep_on(&mut sweep, which, before).await.unwrap() {
        sum = Swept { seen: sum.seen + page.seen, removed: sum.removed + page.removed };
    }
    sum
}

fn some(tenant: u8, space: &str, count: u32) -> Vec<(VectorKey, Kept)> {
    let maker = KeyMaker::new(&[tenant; 16], space, "");
    (0..count).map(|n| (maker.key(&n.to_string()), kept(n))).collect()
}

async fn held(cache: &RedisCache, vectors: &[(VectorKey, Kept)]) -> usize {
    let keys: Vec<VectorKey> = vectors.iter().map(|(key, _)| *key).collect();
    cache.get_many(&keys).await.unwrap().iter().flatten().count()
}

async fn takes_out_only_what_is_meant(cache: &RedisCache) {
    let [mine, other_space, others] = [some(1, "m@3", 3000), some(1, "m@4", 300), some(2, "m@3", 300)];
    for vectors in [&mine, &other_space, &others] {
        until_put(cache, vectors).await;
    }
    let tenant = Keys::default().of_tenant(&[1; 16]);
    assert_eq!(swept(cache, &tenant.in_space("m@3"), i64::MAX).await.removed, 3000);
    assert_eq!((held(cache, &mine).await, held(cache, &other_space).await), (0, 300));
    assert_eq!(swept(cache, &tenant, i64::MAX).await.removed, 300);
    assert_eq!((held(cache, &other_space).await, held(cache, &others).await), (0, 300));
    let all = swept(cache, &Keys::default(), i64::MAX).await;
    assert!(all.seen >= all.removed && all.removed >= 300, "{all:?}");
    assert_eq!(held(cache, &others).await, 0);
}

#[tokio::test]
async fn a_sweep_takes_out_only_what_is_meant_and_no_key_of_anybody_else() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    for name in ["embedding:v2:mine", "embedding:limit:x", "session:1", "embedding:v1:{00}:00"] {
        redis.cli(&["SET", name, "x"]);
    }
    takes_out_only_what_is_meant(&cache).await;
    assert_eq!(redis.cli(&["DBSIZE"]), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_passes_every_master_of_a_cluster() {
    let cluster = TestCluster::start();
    let endpoints = cluster.endpoints();
    let cache = connected(&RedisSettings { url: None, endpoints, ..patient("redis://unused") }).await;
    takes_out_only_what_is_meant(&cache).await;
    assert!(cluster.nodes.iter().all(|node| node.cli(&["DBSIZE"]) == "0"));
}

#[tokio::test]
async fn what_was_kept_after_the_order_stays() {
    let redis = TestRedis::start();
    let cache = connected(&patient(&redis.url())).await;
    // stamps 5 to 104
    let vectors = some(1, "m@3", 100);
    until_put(&cache, &vectors).await;
    let name = redis.cli(&["--scan", "--pattern", "embedding:v2:*"]).lines().next().unwrap().to_owned();
    redis.cli(&["DEL", &name]);
    redis.cli(&["LPUSH", &name, "a list under our key"]);
    swept(&cache, &Keys::default(), 55).await;
    assert_eq!(redis.cli(&["EXISTS", &name]), "0");
    assert!((49..=50).contains(&held(&cache, &vectors[50..]).await));
    assert_eq!(held(&cache, &vectors[..50]).await, 0);
}

#[tokio::test]
async fn without_redis_there_is_nothing_to_sweep() {
    let redis = TestRedis::not_yet();
    let cache = RedisCache::connect(&patient(&redis.url()), &Tasks::new()).unwrap();
    assert_eq!(cache.sweep().await.unwrap_err(), Away::NotConnected);
}
