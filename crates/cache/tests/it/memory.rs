use embermesh_cache::{
    ServerMemory, SettingsError,
    testing::{TestCluster, TestRedis},
};

use super::*;

fn told(redis: &TestRedis, name: &str) -> String {
    redis.cli(&["CONFIG", "GET", name]).lines().nth(1).unwrap_or_default().to_owned()
}

fn memory() -> ServerMemory {
    ServerMemory { max_memory: Some("64mb".into()), eviction_policy: Some("allkeys-lru".into()) }
}

async fn until_told(redis: &TestRedis) {
    let end = Instant::now() + PATIENCE;
    while (told(redis, "maxmemory"), told(redis, "maxmemory-policy"))
        != ("67108864".into(), "allkeys-lru".into())
    {
        assert!(Instant::now() < end, "{} {}", told(redis, "maxmemory"), told(redis, "maxmemory-policy"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_told_its_memory_and_policy_again_after_a_restart() {
    let mut redis = TestRedis::start();
    let cache = connected(&RedisSettings { memory: memory(), ..patient(&redis.url()) }).await;
    until_told(&redis).await;
    redis.restart();
    until_told(&redis).await;
    until_answered(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_master_of_a_cluster_is_told() {
    let cluster = TestCluster::start();
    let settings = RedisSettings {
        url: None,
        endpoints: cluster.endpoints(),
        memory: memory(),
        ..patient("redis://unused")
    };
    let _cache = connected(&settings).await;
    for node in &cluster.nodes {
        until_told(node).await;
    }
}

#[tokio::test]
async fn what_is_not_set_is_left_as_it_is_and_a_refusal_costs_nothing() {
    let redis = TestRedis::start();
    redis.cli(&["CONFIG", "SET", "maxmemory", "50mb"]);
    connected(&patient(&redis.url())).await;
    assert_eq!(
        (told(&redis, "maxmemory"), told(&redis, "maxmemory-policy")),
        ("52428800".into(), "noeviction".into())
    );

    redis.cli(&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-config"]);
    let url = redis.url().replace("redis://", "redis://limited:secret@");
    connected(&RedisSettings { memory: memory(), ..patient(&url) }).await;
    assert_eq!(told(&redis, "maxmemory"), "52428800");
}

#[tokio::test]
async fn a_setting_that_redis_does_not_have_is_refused_at_the_start() {
    let refused = |memory| {
        let settings = RedisSettings { memory, ..patient("redis://127.0.0.1:1") };
        RedisCache::connect(&settings, &Tasks::new()).map(drop).unwrap_err()
    };
    let size = ServerMemory { max_memory: Some("much".into()), ..ServerMemory::default() };
    assert_eq!(refused(size), SettingsError::MaxMemory("much".into()));
    let policy = ServerMemory { eviction_policy: Some("lru".into()), ..ServerMemory::default() };
    assert!(matches!(refused(policy), SettingsError::Policy(name, _) if name == "lru"));
}
