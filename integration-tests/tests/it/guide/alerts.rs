//! The guide's alerts fire and resolve at a live Prometheus, with its expressions as printed, and every query of every dashboard finds
//! something. How long a condition has to hold is seconds here; the guide's own minutes are held against the same run by promtool, see
//! [`super::trace`].

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use embermesh_cache::testing::TestRedis;
use embermesh_testing::sim::{Fault, Latency, Simulator};
use futures::future::join_all;
use serde_json::{Value, json};

use super::trace;
use crate::{
    client::Client,
    money::budget_in_force,
    prometheus::{Prometheus, guide_rules_with_short_for},
    running::{Running, root, wait_until},
    simulated::{ADA, LARGE, SMALL, configure, entry, in_force, openai, unstored, yaml},
};

const EMBED: &str = "/api/v1/embeddings";
/// Long enough that a second of it, played as a minute, is longer than the guide's longest `for`.
const OUTAGE: Duration = Duration::from_secs(25);
const ALL_FOUR: [&str; 4] = ["CircuitBreakerOpen", "HighCostRate", "HighErrorRate", "ProviderDown"];

struct Watched {
    simulator: Simulator,
    redis: TestRedis,
    running: Running,
    prometheus: Prometheus,
    client: Client,
    began: f64,
}

impl Watched {
    /// `openai` alone has its model; of another model there are two deployments; a third one is dear.
    async fn start() -> Self {
        let simulator = openai(&["openai", "spare", "steady", "lavish"]).await;
        let models = [SMALL, LARGE, LARGE, ADA];
        let entries: Vec<String> = simulator
            .deployments()
            .iter()
            .zip(models)
            .map(|(deployment, model)| entry(deployment, &[model], ", timeout: 10s"))
            .collect();
        let redis = TestRedis::start();
        let sections = ["router: {canary_interval: 3s}", "circuit_breaker: {timeout: 2s}"];
        let more = "store: {redis: {timeout_ms: 1000, rest_ms: 100}}\npii_detection: {enabled: true, action: redact}";
        let config = format!("{}redis: {{url: '{}'}}\n{more}\n", yaml(&entries, &sections), redis.url());
        let running = Running::five(&config).await;
        let prometheus = Prometheus::start(&running, &guide_rules_with_short_for()).await;
        let began = prometheus.now().await;
        let client = running.agent();
        Self { simulator, redis, running, prometheus, client, began }
    }

    async fn embed(&self, agent: &str, text: &str, model: &str) -> u16 {
        self.client.post(EMBED, unstored(agent, text, Some(model))).await.status
    }

    /// Waits until Prometheus has what appears only once it has happened.
    async fn shown(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        let mut missing = vec![
            "embedding_cost_total{agent_id='dear'}",
            "embedding_budget_alerts_total",
            "embedding_canary_cosine",
            "redis_call_failures_total",
            "provider_throttled_total",
            "embedding_failovers_total",
        ];
        loop {
            let mut still = Vec::new();
            for expression in missing {
                if self.prometheus.query(expression).await.is_empty() {
                    still.push(expression);
                }
            }
            if still.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "Prometheus does not have {still:?}");
            missing = still;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn nothing_fires(&self) {
        wait_until(|| async { self.prometheus.firing().await.is_empty() }).await;
    }
}

#[tokio::test]
async fn the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something() {
    let mut watched = Watched::start().await;
    everyday(&mut watched).await;
    watched.nothing_fires().await;

    overspend(&watched).await;
    outage(&watched).await;
    watched.simulator.deployment("openai").unwrap().heal();
    // a breaker closes by calls that succeed
    let asked = AtomicUsize::new(0);
    wait_until(|| async {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        watched.embed("steady", &format!("is it back? {n}"), SMALL).await;
        let firing = watched.prometheus.firing().await;
        !["CircuitBreakerOpen", "ProviderDown"].iter().any(|alert| firing.contains(*alert))
    })
    .await;
    // so that the end of it is in the trace
    tokio::time::sleep(Duration::from_secs(3)).await;

    let healed = watched.prometheus.now().await;
    every_query_finds_something(&watched, healed).await;
    trace::is_right_with_the_guides_own_for(&watched.prometheus, watched.began, healed).await;

    // these two look back five minutes and an hour: what they saw is taken away, as that time would
    let seen = ["http_requests_total{status=~'5..'}", "embedding_cost_total"];
    watched.prometheus.forget(&seen, healed).await;
    watched.nothing_fires().await;
}

/// What gives every panel something to show, without an alert.
async fn everyday(watched: &mut Watched) {
    let client = watched.client.clone();
    for text in ["The ferry leaves at noon.", "Write to somebody@example.org.", "The ferry leaves at noon."] {
        let body = json!({"agent_id": "panel", "text": text, "model": SMALL});
        client.post(EMBED, body).await.ok();
    }
    // a rate is of what comes between two scrapes
    for n in 0..5 {
        let row = json!({"agent_id": "panel", "text": format!("boat number {n}"), "model": SMALL});
        client.post(EMBED, row).await.ok();
        let search = json!({"agent_id": "panel", "query": "boats", "model": SMALL});
        client.post("/api/v1/embeddings/search", search).await.ok();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    client.get("/api/v1/embeddings/00000000-0000-7000-8000-000000000000").await.refused(404, "not_found");
    // a budget of fifteen tokens is passed step by step
    configure(&watched.running, "thrifty", json!({"constraints": {"max_cost_per_day": 0.000002}})).await;
    budget_in_force(&watched.running, "thrifty").await;
    for n in 0..12 {
        watched.embed("thrifty", &format!("word {n}"), LARGE).await;
    }
    assert_eq!(watched.embed("thrifty", "no more of it", LARGE).await, 402);
    // some are refused as too many or fail at one of two, and go on to the other
    for status in [429, 500] {
        for name in ["spare", "steady"] {
            watched.simulator.deployment(name).unwrap().inject([Fault::status(status).times(1)]);
            for n in 0..6 {
                watched.embed("mover", &format!("{status} from {name}, {n}"), LARGE).await;
            }
        }
    }
    for name in ["spare", "steady"] {
        watched.simulator.deployment(name).unwrap().heal();
    }
    // callers who ask for the same at the same time
    let only = watched.simulator.deployment("openai").unwrap();
    only.set_latency(Some(Latency::Fixed { ms: 300.0 }));
    join_all((0..8).map(|_| watched.embed("many", "all want this", SMALL))).await;
    only.set_latency(None);
    watched.redis.kill();
    // a router that has met no Redis leaves it alone for a while
    for n in 0..60 {
        watched.embed("without", &format!("redis is away {n}"), SMALL).await;
        if !watched.prometheus.query("redis_call_failures_total").await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    watched.redis.restart();
    assert_eq!(watched.embed("dear", "a first word", ADA).await, 200);
    watched.shown().await;
}

/// More than a hundred dollars for each second of an hour.
async fn overspend(watched: &Watched) {
    let price = json!({"per_million_tokens_usd": 50_000_000});
    let path = format!("/api/v1/embedding-models/catalog/{ADA}/prices");
    watched.running.admin().post(&path, price).await.ok();
    in_force().await;
    for n in 0..8 {
        let text = format!("{n} {}", "dear words ".repeat(1000));
        assert_eq!(watched.embed("dear", &text, ADA).await, 200);
    }
}

/// Nobody listens at `openai`, and its callers go on calling until every alert has fired.
async fn outage(watched: &Watched) {
    watched.simulator.deployment("openai").unwrap().go_down().await;
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    let callers = join_all((0..4).map(|caller| {
        let over = &over;
        async move {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                watched.embed("steady", &format!("{caller} asks for {n}"), SMALL).await;
                n += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }));
    let alerts = async {
        let all: BTreeSet<String> = ALL_FOUR.map(str::to_owned).into();
        wait_until(|| async { watched.prometheus.firing().await == all }).await;
        tokio::time::sleep(OUTAGE.saturating_sub(began.elapsed())).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(callers, alerts);
    let down = watched.prometheus.query("ALERTS{alertname='ProviderDown',alertstate='firing'}").await;
    assert!(down.iter().all(|of| of["metric"]["provider"] == "openai"), "{down:?}");
}

/// There are no read replicas here; the tests of those see that these metrics have values.
const OF_REPLICAS: [&str; 2] = ["db_reads_total", "db_replica_"];

/// Every query of every dashboard, over the whole run.
async fn every_query_finds_something(watched: &Watched, until: f64) {
    let (mut asked, mut nothing) = (0, Vec::new());
    for file in std::fs::read_dir(root().join("monitoring/dashboards")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "10s");
                if OF_REPLICAS.iter().any(|metric| expression.contains(metric)) {
                    continue;
                }
                let found = watched.prometheus.range(&expression, watched.began, until).await;
                asked += 1;
                if !found.iter().any(|series| series.values.iter().flatten().any(|value| value.is_finite())) {
                    nothing.push(format!("{}: {expression}", dashboard["title"]));
                }
            }
        }
    }
    assert!(nothing.is_empty(), "{} of {asked} queries find nothing:\n{}", nothing.len(), nothing.join("\n"));
    assert!(asked > 60, "only {asked} queries: the dashboards have lost their panels");
    println!("{asked} queries of dashboards, each with values");
}
