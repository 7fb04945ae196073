//! Filling and emptying the cache: what is warmed costs nothing on any router, what is cleared is not served by any.

use embermesh_cache::testing::TestRedis;
use embermesh_testing::sim::{Fault, Simulator};
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, SMALL_SPACE, assert_right, entry, openai, unstored, yaml},
    tenants::Tenant,
};

const EMBED: &str = "/api/v1/embeddings";
const WARM: &str = "/api/v1/admin/cache/warm";
const CLEAR: &str = "/api/v1/admin/cache/clear";

/// Two routers, each with a gateway of its own, on one Redis.
struct Pair {
    redis: TestRedis,
    simulator: Simulator,
    running: Running,
    agents: [Client; 2],
    admin: Client,
}

impl Pair {
    async fn start() -> Self {
        let redis = TestRedis::start();
        let simulator = openai(&["a-one"]).await;
        let entries = [entry(&simulator.deployments()[0], &[SMALL], ", timeout: 2s")];
        // a busy machine's Redis is slow, not away; and vectors live for as long as any test
        let config = format!(
            "{}redis: {{url: '{}', cache_strategies: {{embeddings: {{ttl: 3600}}}}}}\nstore: {{redis: {{timeout_ms: 1000}}}}\n",
            yaml(&entries, &[QUIET]),
            redis.url()
        );
        let mut running = Running::five(&config).await;
        let second = running.another_pair().await;
        let key = running.keys["agent_key"].as_str().unwrap();
        let agents = [Client::new(&running.url, key), Client::new(&second, key)];
        let admin = running.admin();
        Self { redis, simulator, running, agents, admin }
    }

    async fn store(&self, agent: &str, texts: &[String]) {
        let entry =
            |text: &String| json!({"agent_id": agent, "text": text, "model": SMALL, "return_vector": false});
        let batch: Vec<Value> = texts.iter().map(entry).collect();
        let answer = self.agents[0].post("/api/v1/embeddings/batch", json!(batch)).await.ok();
        assert_eq!(answer["failed"], 0, "{answer}");
    }

    /// Keys of vectors in Redis.
    fn kept(&self) -> usize {
        let keys = self.redis.cli(&["--scan", "--pattern", "embedding:v2:*"]);
        keys.lines().filter(|key| !key.is_empty()).count()
    }

    async fn ended(&self, started: Value) -> Value {
        ended(&self.admin, started).await
    }
}

/// A job at its end.
async fn ended(admin: &Client, started: Value) -> Value {
    let path = format!("/api/v1/admin/jobs/{}", started["job_id"].as_str().unwrap());
    let job = || async { admin.get(&path).await.ok() };
    wait_until(|| async { matches!(job().await["state"].as_str(), Some("done" | "failed")) }).await;
    job().await
}

fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} number {n}")).collect()
}

#[tokio::test]
async fn what_is_warmed_is_known_to_every_router_without_a_call() {
    let mut pair = Pair::start().await;
    let (known, others) = (texts("a row", 30), texts("a row of somebody else", 5));
    pair.store("docs", &known).await;
    pair.store("mail", &others).await;
    // nobody remembers anything but the rows
    pair.redis.cli(&["FLUSHALL"]);
    pair.running.start_again("provider-router").await;
    let job = pair.ended(pair.admin.post(WARM, json!({"agent_id": "docs"})).await.ok()).await;
    assert_eq!((&job["state"], &job["kind"]), (&json!("done"), &json!("cache_warm")), "{job}");
    assert_eq!((&job["done"], &job["total"], &job["changed"]), (&json!(30), &json!(30), &json!(30)), "{job}");
    assert_eq!(pair.kept(), 30);

    // whatever is answered now comes from nowhere else
    pair.simulator.deployments()[0].inject([Fault::status(500).forever()]);
    for client in &pair.agents {
        for text in &known {
            let ask = || client.post(EMBED, unstored("docs", text, Some(SMALL)));
            // a router that has asked Redis too early leaves it alone for a moment
            wait_until(|| async { ask().await.status == 200 }).await;
            let answer = ask().await.ok();
            assert_right(&answer, SMALL, text);
            assert_eq!((&answer["cached"], &answer["cost_usd"]), (&json!(true), &json!(0)), "{text}");
        }
        let answer = client.post(EMBED, unstored("mail", &others[0], Some(SMALL))).await;
        answer.refused(503, "unavailable");
    }

    // without a body: every agent of the tenant
    let job = pair.ended(pair.admin.post(WARM, json!({"rows_per_agent": 4})).await.ok()).await;
    assert_eq!((&job["done"], &job["total"]), (&json!(8), &json!(8)), "{job}");
    assert_eq!(pair.kept(), 34);
    pair.admin.post(WARM, json!({"by": "size"})).await.refused(400, "invalid_request");
    pair.admin.post(WARM, json!({"rows_per_agent": 0})).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn the_rows_that_are_put_again_most_often_are_warmed_first() {
    let pair = Pair::start().await;
    let all = texts("a row", 20);
    pair.store("docs", &all).await;
    for _ in 0..3 {
        pair.store("docs", &all[..4]).await;
    }
    let sql = pair.running.sql().await;
    let counted = "SELECT coalesce(sum(uses), 0)::bigint FROM store.row_uses";
    wait_until(|| async { sql.query_one(counted, &[]).await.unwrap().get::<_, i64>(0) == 12 }).await;
    pair.redis.cli(&["FLUSHALL"]);
    let body = json!({"agent_id": "docs", "space_id": SMALL_SPACE, "by": "most_used", "rows_per_agent": 6});
    let job = pair.ended(pair.admin.post(WARM, body).await.ok()).await;
    assert_eq!((&job["state"], &job["changed"]), (&json!("done"), &json!(6)), "{job}");
    pair.simulator.deployments()[0].inject([Fault::status(500).forever()]);
    // the second router has never seen a text: the four of most use, then the two newest
    for text in all[..4].iter().chain(&all[18..]) {
        let ask = || pair.agents[1].post(EMBED, unstored("docs", text, Some(SMALL)));
        wait_until(|| async { ask().await.status == 200 }).await;
    }
    pair.agents[1].post(EMBED, unstored("docs", &all[10], Some(SMALL))).await.refused(503, "unavailable");
}

#[tokio::test]
async fn what_is_cleared_is_bought_again_on_every_router() {
    let pair = Pair::start().await;
    let [mine, others] = [texts("for both", 8), texts("for one agent", 4)];
    let ask = async |router: usize, agent: &str, text: &str| {
        let answer = pair.agents[router].post(EMBED, unstored(agent, text, Some(SMALL))).await.ok();
        assert_right(&answer, SMALL, text);
        answer["cached"] == true
    };
    for text in mine.iter().chain(&others) {
        for router in [0, 1] {
            ask(router, "docs", text).await;
            wait_until(|| ask(router, "docs", text)).await;
        }
    }
    // one agent is served nothing old, the others still are
    let job = pair.admin.post(CLEAR, json!({"agent_id": "docs"})).await.ok();
    for router in [0, 1] {
        wait_until(|| async { !ask(router, "docs", &others[router]).await }).await;
        assert!(ask(router, "mail", &others[router + 2]).await, "another agent lost what was kept");
    }
    let job = pair.ended(job).await;
    assert_eq!((&job["state"], &job["changed"]), (&json!("done"), &json!(0)), "{job}");
    assert!(job["note"].as_str().unwrap().contains("other agents"), "{job}");

    pair.simulator.clear_calls();
    // behind the answers
    wait_until(|| async { pair.kept() == 12 }).await;
    let job = pair.ended(pair.admin.post(CLEAR, json!({"space_id": SMALL_SPACE})).await.ok()).await;
    assert_eq!((&job["state"], &job["kind"]), (&json!("done"), &json!("cache_clear")), "{job}");
    assert_eq!((job["changed"].as_u64(), pair.kept()), (Some(12), 0), "{job}");
    assert_eq!(job["done"], job["total"], "{job}");
    // what the first router buys again is the second one's too: each is asked for texts of its own
    for (n, text) in mine.iter().enumerate() {
        wait_until(|| async { !ask(n % 2, "docs", text).await || called(&pair.simulator, text) }).await;
        assert!(called(&pair.simulator, text), "{text} came from somewhere else");
        assert!(ask(n % 2, "docs", text).await, "{text} is kept anew");
    }
    let sql = pair.running.sql().await;
    let recorded = "SELECT action FROM admin.audit_records WHERE action LIKE 'cache.%' ORDER BY number";
    let recorded = sql.query(recorded, &[]).await.unwrap();
    assert_eq!(recorded.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["cache.clear"; 2]);
}

fn called(simulator: &Simulator, text: &str) -> bool {
    simulator.calls().iter().any(|call| call.texts.iter().any(|sent| sent == text))
}

#[tokio::test]
async fn a_job_outlives_the_process_that_works_on_it() {
    let mut pair = Pair::start().await;
    pair.store("docs", &texts("a row", 10)).await;
    // the job waits for Redis; meanwhile its worker dies
    pair.redis.kill();
    let started = pair.admin.post(WARM, json!({"agent_id": "docs"})).await.ok();
    let path = format!("/api/v1/admin/jobs/{}", started["job_id"].as_str().unwrap());
    wait_until(|| async { pair.admin.get(&path).await.ok()["state"] == "running" }).await;
    pair.running.process("vector-store").kill();
    pair.redis.restart();
    pair.running.start_again("vector-store").await;
    // the others find it again at their own pace
    wait_until(|| async { pair.admin.get(&path).await.status == 200 }).await;
    let job = pair.ended(started).await;
    assert_eq!((&job["state"], &job["changed"]), (&json!("done"), &json!(10)), "{job}");
    assert_eq!(pair.kept(), 10);
}

#[tokio::test]
async fn a_tenant_clears_and_warms_its_own_and_the_operator_any() {
    let pair = Pair::start().await;
    let (first, second) = (Tenant::first(&pair.running), Tenant::second(&pair.running).await);
    let text = json!({"agent_id": "a", "text": "the same for both", "model": SMALL});
    for tenant in [&first, &second] {
        let answer = tenant.agent.post(EMBED, text.clone()).await.ok();
        assert_eq!(answer["cached"], false, "a tenant is told what another one has");
        wait_until(|| async { tenant.agent.post(EMBED, text.clone()).await.ok()["cached"] == true }).await;
    }
    wait_until(|| async { pair.kept() == 2 }).await;
    let theirs = json!({"tenant_id": first.id});
    for (path, body) in [(CLEAR, &theirs), (WARM, &theirs), (CLEAR, &json!({"all_tenants": true}))] {
        second.admin.post(path, body.clone()).await.refused(403, "forbidden");
    }
    let started = second.admin.post(CLEAR, json!({})).await.ok();
    let job = format!("/api/v1/admin/jobs/{}", started["job_id"].as_str().unwrap());
    first.admin.get(&job).await.refused(404, "not_found");
    let job = ended(&second.admin, started).await;
    assert_eq!((&job["state"], &job["changed"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(pair.kept(), 1);
    assert_eq!(first.agent.post(EMBED, text.clone()).await.ok()["cached"], true);

    // by the operator, in the operator's name
    let job = first.admin.post(WARM, json!({"tenant_id": second.id})).await.ok();
    let job = ended(&first.admin, job).await;
    assert_eq!((&job["state"], &job["changed"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(pair.kept(), 2);
    let job = ended(&first.admin, first.admin.post(CLEAR, json!({"all_tenants": true})).await.ok()).await;
    assert_eq!((&job["state"], pair.kept()), (&json!("done"), 0), "{job}");
    for tenant in [&first, &second] {
        wait_until(|| async { tenant.agent.post(EMBED, text.clone()).await.ok()["cached"] == false }).await;
    }
    let nobody = json!({"tenant_id": "0192d5a0-0000-7000-8000-00000000dead"});
    first.admin.post(CLEAR, nobody).await.refused(404, "not_found");
    pair.agents[0].post(CLEAR, json!({})).await.refused(403, "forbidden");
}
