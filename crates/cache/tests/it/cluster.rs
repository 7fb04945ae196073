use embermesh_cache::{
    Limit,
    testing::{TestCluster, TestRedis},
};

use super::*;

fn settings(endpoints: Vec<String>) -> RedisSettings {
    RedisSettings { url: None, endpoints, ..patient("redis://unused") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_used_slot_by_slot_and_found_by_one_node_too() {
    let cluster = TestCluster::start();
    let endpoints = cluster.endpoints();
    let by_all = connected(&settings(endpoints.clone())).await;
    until_put(&by_all, &all_of(0..200)).await;
    let sizes: Vec<u32> = cluster.nodes.iter().map(|node| node.cli(&["DBSIZE"]).parse().unwrap()).collect();
    assert!(sizes.iter().sum::<u32>() == 200 && sizes.iter().all(|&size| size > 20), "{sizes:?}");

    let by_one = connected(&settings(endpoints[..1].to_vec())).await;
    let by_url = connected(&patient(&format!("redis://{}", endpoints[1]))).await;
    let asked: Vec<VectorKey> = (0..250).map(key).collect();
    let expected: Vec<Option<Kept>> = (0..250).map(|n| (n < 200).then(|| kept(n))).collect();
    for cache in [&by_all, &by_one, &by_url] {
        assert_eq!(cache.get_many(&asked).await.unwrap(), expected);
    }

    // one limit for all, wherever its slot is
    for name in ["a", "b", "c", "d", "e"] {
        let limit = Limit { name, per_minute: 60, burst: 6 };
        assert_eq!(by_all.lease(limit, 4, 1).await.unwrap().granted, 4);
        assert_eq!(by_one.lease(limit, 4, 1).await.unwrap().granted, 2);
        assert_eq!(by_url.lease(limit, 4, 1).await.unwrap().granted, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_master_never_makes_a_wrong_answer_and_may_come_back() {
    let mut cluster = TestCluster::start();
    let cache = connected(&settings(cluster.endpoints())).await;
    until_put(&cache, &all_of(0..200)).await;
    cluster.nodes[2].kill();
    let asked: Vec<VectorKey> = (0..200).map(key).collect();
    for _ in 0..50 {
        if let Ok(found) = cache.get_many(&asked).await {
            for (n, found) in (0..200).zip(found) {
                assert!(found.is_none_or(|found| found == kept(n)), "{n}");
            }
        }
    }
    cluster.nodes[2].restart();
    let end = Instant::now() + PATIENCE;
    loop {
        match cache.get_many(&asked).await {
            // what the others hold
            Ok(found) if found.iter().filter(|found| found.is_some()).count() > 100 => break,
            _ => assert!(Instant::now() < end, "the cluster is not used again"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_endpoint_that_is_no_cluster_is_a_node() {
    let redis = TestRedis::start();
    let cache = connected(&settings(vec![redis.endpoint()])).await;
    until_put(&cache, &all_of(0..200)).await;
    assert_eq!(redis.cli(&["DBSIZE"]), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_fails_over_costs_misses_and_never_a_wrong_vector() {
    let mut cluster = TestCluster::with_replicas();
    let cache = connected(&settings(cluster.endpoints())).await;
    until_put(&cache, &all_of(0..200)).await;
    let dead = cluster.nodes.iter().position(TestRedis::is_master).unwrap();
    cluster.nodes[dead].kill();
    let asked: Vec<VectorKey> = (0..200).map(key).collect();
    let end = Instant::now() + PATIENCE;
    loop {
        let found = cache.get_many(&asked).await.unwrap_or_default();
        for (n, found) in (0..200).zip(&found) {
            assert!(found.as_ref().is_none_or(|found| *found == kept(n)), "{n}");
        }
        // every slot answers again, with what is put now
        let put = cache.put_many(&all_of(0..200), TTL).await;
        if put.is_ok() && found.iter().flatten().count() == 200 {
            break;
        }
        assert!(Instant::now() < end, "the promoted replica is not used: {put:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cluster.nodes.iter().filter(|node| node.is_master()).count(), 3);
}
