//! Whatever becomes of Redis, no client gets an error for it and none gets another text's vector.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use embermesh_cache::testing::{TestCluster, TestRedis};
use embermesh_testing::sim::Simulator;
use futures::future::join_all;
use serde_json::json;

use crate::{
    client::{Client, floats},
    running::{Running, wait_until},
    simulated::{LARGE, SMALL, assert_right, entry, is_right, openai, unstored, yaml},
    tenants::Tenant,
};

const EMBED: &str = "/api/v1/embeddings";
const TEXTS: usize = 40;

/// A system whose routers remember nothing by themselves, on `redis`.
async fn on_redis(redis: &str, models: &[&str]) -> (Simulator, Running) {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], models, ", timeout: 2s")];
    let router = "router: {canary_interval: 0s, cache_size_mib: 0}";
    let tuning = "store: {redis: {timeout_ms: 1000, rest_ms: 100}}";
    let config = format!("{}redis: {{{redis}}}\n{tuning}\n", yaml(&entries, &[router]));
    let running = Running::one(&config).await;
    (simulator, running)
}

/// Asks all the time, until told to end.
struct Load {
    end: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
}

impl Load {
    fn of(client: &Client) -> (Self, impl Future<Output = ()> + use<>) {
        let load = Self { end: Arc::default(), asked: Arc::default(), hits: Arc::default() };
        let asker = |n: usize| {
            let (end, asked, hits) = (load.end.clone(), load.asked.clone(), load.hits.clone());
            let client = client.clone();
            async move {
                let mut at = n;
                while !end.load(Ordering::Relaxed) {
                    let text = format!("asked over and over {}", at % TEXTS);
                    let answer = client.post(EMBED, unstored("asker", &text, Some(SMALL))).await.ok();
                    assert_right(&answer, SMALL, &text);
                    hits.fetch_add(usize::from(answer["cached"] == true), Ordering::Relaxed);
                    asked.fetch_add(1, Ordering::Relaxed);
                    at += 7;
                }
            }
        };
        let asking = join_all((0..4).map(asker));
        (load, async move {
            asking.await;
        })
    }

    /// Until so many more were asked.
    async fn more(&self, count: usize) {
        let from = self.asked.load(Ordering::Relaxed);
        wait_until(|| async { self.asked.load(Ordering::Relaxed) >= from + count }).await;
    }

    /// Until the cache serves.
    async fn hits(&self) {
        let from = self.hits.load(Ordering::Relaxed);
        wait_until(|| async { self.hits.load(Ordering::Relaxed) >= from + TEXTS }).await;
    }

    fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
        let (asked, hits) = (self.asked.load(Ordering::Relaxed), self.hits.load(Ordering::Relaxed));
        println!("{asked} answers, {hits} from the cache, 0 errors, 0 wrong vectors");
    }
}

#[tokio::test]
async fn redis_killed_flushed_and_full_of_nonsense_costs_no_client_anything() {
    let mut redis = TestRedis::start();
    let (_simulator, running) = on_redis(&format!("url: '{}'", redis.url()), &[SMALL]).await;
    let client = running.agent();
    let (load, asking) = Load::of(&client);
    let faults = async {
        load.hits().await;
        redis.cli(&["FLUSHALL"]);
        load.hits().await;
        for round in 0..3 {
            let keys = redis.cli(&["--scan", "--pattern", "embedding:v2:*"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            for (n, key) in keys.iter().enumerate() {
                match (n + round) % 5 {
                    // other types, other values, cut ones, and those of another text
                    0 => drop((redis.cli(&["DEL", key]), redis.cli(&["LPUSH", key, "a", "list"]))),
                    1 => drop((redis.cli(&["DEL", key]), redis.cli(&["HSET", key, "a", "hash"]))),
                    2 => drop(redis.cli(&["SET", key, "nonsense"])),
                    3 => drop(redis.cli(&["SETRANGE", key, "60", "xxxx"])),
                    _ => drop(redis.cli(&["COPY", keys[(n + 1) % keys.len()], key, "REPLACE"])),
                }
            }
            load.more(2 * TEXTS).await;
        }
        load.hits().await;
        redis.kill();
        load.more(2 * TEXTS).await;
        redis.restart();
        load.hits().await;
        redis.pause();
        load.more(TEXTS).await;
        redis.resume();
        load.hits().await;
        load.end();
    };
    tokio::join!(asking, faults);
}

#[tokio::test]
async fn a_cluster_whose_master_fails_over_costs_no_client_anything() {
    let mut cluster = TestCluster::with_replicas();
    let endpoints = cluster.endpoints().join("', '");
    let (_simulator, running) = on_redis(&format!("cluster_endpoints: ['{endpoints}']"), &[SMALL]).await;
    let client = running.agent();
    let (load, asking) = Load::of(&client);
    let faults = async {
        load.hits().await;
        let dead = cluster.nodes.iter().position(TestRedis::is_master).unwrap();
        cluster.nodes[dead].kill();
        load.more(TEXTS).await;
        wait_until(|| async { cluster.nodes.iter().filter(|node| node.is_master()).count() == 3 }).await;
        load.hits().await;
        // and back, as a replica of the one that took its place
        cluster.nodes[dead].restart();
        load.more(TEXTS).await;
        load.hits().await;
        load.end();
    };
    tokio::join!(asking, faults);
}

/// Texts that careless keys have mixed up: separators, forms of Unicode that look alike, long common beginnings.
fn corpus() -> Vec<String> {
    let texts = [
        "a",
        "A",
        " a",
        "a ",
        "a\n",
        "a\r\n",
        "a\u{200b}",
        "a\u{ad}",
        "\u{feff}a",
        "é",
        "e\u{301}",
        "Å",
        "\u{212b}",
        "A\u{30a}",
        "ﬁ",
        "fi",
        "①",
        "1",
        "ａ",
        "а",
        "ß",
        "ss",
        "İ",
        "i\u{307}",
        "K",
        "\u{212a}",
        "a|b",
        "a:b",
        "a,b",
        "a\u{1f}b",
        "ab",
        "query",
        "query:a",
        "document a",
        "text-embedding-3-small@1536",
        "text-embedding-3-small@1536:a",
        "1536a",
        "15 36a",
        "[\"a\",\"b\"]",
        "{\"text\":\"a\"}",
    ];
    let beginning =
        "The same beginning of two texts, longer than any short hash or preview of them would be. ".repeat(3);
    let long = ["one end", "another end", "one  end"].map(|end| format!("{beginning}{end}"));
    texts.into_iter().map(str::to_owned).chain(long).collect()
}

#[tokio::test]
async fn nothing_in_the_corpus_of_collisions_gets_the_vector_of_something_else() {
    let redis = TestRedis::start();
    let (_simulator, running) = on_redis(&format!("url: '{}'", redis.url()), &[SMALL, LARGE]).await;
    let tenants = [Tenant::first(&running), Tenant::second(&running).await];
    let corpus = corpus();
    let kinds = [
        (SMALL, None, "general_qa", "document"),
        (SMALL, Some(512), "general_qa", "document"),
        (SMALL, Some(511), "code_analysis", "query"),
        (LARGE, None, "research", "document"),
        (LARGE, Some(512), "general_qa", "query"),
    ];
    let (mut asked, mut hits) = (0, 0);
    for round in 0..3 {
        for (n, tenant) in tenants.iter().enumerate() {
            for (model, dimensions, task_type, input_type) in kinds {
                let entry = |text: &String| {
                    let mut entry = json!({"agent_id": "a", "text": text, "model": model, "store": false,
                        "task_type": task_type, "input_type": input_type});
                    if let Some(dimensions) = dimensions {
                        entry["dimensions"] = dimensions.into();
                    }
                    entry
                };
                let batch: Vec<_> = corpus.iter().map(entry).collect();
                let answer = tenant.agent.post("/api/v1/embeddings/batch", json!(batch)).await.ok();
                assert_eq!(answer["failed"], 0, "{answer}");
                for (text, made) in corpus.iter().zip(answer["embeddings"].as_array().unwrap()) {
                    let vector = floats(&made["embedding"]);
                    assert!(is_right(&vector, model, text), "{text:?} {model} {dimensions:?}: a false hit");
                    assert_eq!(vector.len(), made["dimensions"].as_u64().unwrap() as usize);
                    // whatever the first tenant has made, the second has made nothing yet
                    let fresh = round == 0 && dimensions.is_none();
                    assert!(
                        !(fresh && made["cached"] == true),
                        "{text:?} {model} of tenant {n}: a false hit"
                    );
                    hits += usize::from(made["cached"] == true);
                    asked += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{asked} answers, {hits} from the cache, 0 false hits");
    assert!(hits > asked / 4, "the cache was not used: this shows nothing");
}
