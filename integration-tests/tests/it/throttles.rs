//! Rates: of a provider, kept by sharing calls instead of refusing clients; of an agent, refused with the time to wait.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use embermesh_cache::testing::TestRedis;
use embermesh_testing::sim::{Latency, Limits, Simulator};
use futures::future::join_all;
use serde_json::json;

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, assert_right, configure, entry, openai, system, unstored, yaml},
};

/// What the simulated provider lets through in a minute, and what its entry says of it.
const RPM: u32 = 60;
const TPM: u64 = 100_000;

async fn limited() -> (Simulator, Vec<String>) {
    let simulator = openai(&["a-limited"]).await;
    let deployment = &simulator.deployments()[0];
    deployment.limit(Limits { rpm: Some(RPM), tpm: Some(TPM), ..Limits::default() });
    deployment.set_latency(Some(Latency::Uniform { min_ms: 20.0, max_ms: 60.0 }));
    let rate = format!(", rate_limit: {{requests_per_minute: {RPM}, tokens_per_minute: {TPM}}}");
    let entries = vec![entry(deployment, &[SMALL], &rate)];
    (simulator, entries)
}

/// What [`agents_ask`] asks for.
fn one_text(n: usize) -> String {
    format!("one text, number {n}")
}

/// One-text requests of ten agents within two seconds, over these clients in turn; all must be answered.
async fn agents_ask(clients: &[Client], requests: usize) {
    let started = Instant::now();
    let ask = |n: usize| {
        let client = clients[n % clients.len()].clone();
        async move {
            tokio::time::sleep(Duration::from_millis(2000) * n as u32 / requests as u32).await;
            let text = one_text(n);
            let answer = client
                .post("/api/v1/embeddings", unstored(&format!("agent-{}", n % 10), &text, Some(SMALL)))
                .await;
            assert_right(&answer.ok(), SMALL, &text);
        }
    };
    join_all((0..requests).map(ask)).await;
    println!("{requests} requests answered within {:?}", started.elapsed());
}

fn assert_within_limits(simulator: &Simulator, requests: usize) {
    let calls = simulator.calls();
    println!("{} calls, {} refused", calls.len(), simulator.deployments()[0].refused_by_limits());
    assert_eq!(simulator.deployments()[0].refused_by_limits(), 0);
    assert!(calls.len() <= RPM as usize, "{} calls", calls.len());
    let sent: usize = calls.iter().map(|call| call.texts.len()).sum();
    assert_eq!(sent, requests);
}

#[tokio::test]
async fn more_requests_than_the_provider_allows_calls_share_calls_and_none_is_refused() {
    let (simulator, entries) = limited().await;
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    agents_ask(&[running.agent()], 150).await;
    assert_within_limits(&simulator, 150);
}

#[tokio::test]
async fn two_routers_keep_to_one_limit_together_over_redis() {
    let redis = TestRedis::start();
    let (simulator, entries) = limited().await;
    let config = format!(
        // a busy machine's Redis is slow, not away
        "{}redis: {{url: '{}'}}\nstore: {{redis: {{timeout_ms: 1000}}}}\n",
        yaml(&entries, &["router: {canary_interval: 0s, replicas: 2}"]),
        redis.url()
    );
    let mut running = Running::five(&config).await;
    let second = running.another_pair().await;
    let clients = [running.agent(), Client::new(&second, running.keys["agent_key"].as_str().unwrap())];
    agents_ask(&clients, 150).await;
    assert_within_limits(&simulator, 150);
    // and one cache: what the first router made, the second one knows. It is put there behind the answer and at the best, so that some
    // may lack
    let next = AtomicUsize::new(0);
    wait_until(|| async {
        let text = one_text(next.fetch_add(clients.len(), Ordering::Relaxed));
        let known = clients[1].post("/api/v1/embeddings", unstored("sharer", &text, Some(SMALL))).await.ok();
        assert_right(&known, SMALL, &text);
        assert_eq!(known["cached"] == true, known["cost_usd"] == 0, "{text}: {}", known["cost_usd"]);
        known["cached"] == true
    })
    .await;
    assert!(redis.cli(&["KEYS", "*"]).lines().all(|key| key.starts_with("embedding:")));
}

#[tokio::test]
async fn without_redis_each_of_two_routers_keeps_to_its_half() {
    let (simulator, entries) = limited().await;
    let simulating = Instant::now();
    let config = yaml(&entries, &["router: {canary_interval: 0s, replicas: 2}"]);
    let mut running = Running::five(&config).await;
    let second = running.another_pair().await;
    let clients = [running.agent(), Client::new(&second, running.keys["agent_key"].as_str().unwrap())];
    let begun = u64::try_from(simulating.elapsed().as_millis()).unwrap();
    // one after the other, so that none shares a call: more than the half's burst, less than the whole's
    let asked = 5;
    join_all(clients.iter().enumerate().map(|(router, client)| async move {
        for n in 0..asked {
            let text = format!("number {n} over router {router}");
            let answer = client.post("/api/v1/embeddings", unstored("patient", &text, Some(SMALL))).await;
            assert_right(&answer.ok(), SMALL, &text);
        }
    }))
    .await;
    for router in 0..clients.len() {
        let over = format!("over router {router}");
        let mut received: Vec<u64> = simulator
            .calls()
            .iter()
            .filter(|call| call.texts[0].ends_with(&over))
            .map(|call| call.received_ms - begun)
            .collect();
        received.sort_unstable();
        assert_eq!(received.len(), asked);
        // a tenth of the minute at once, and the rest as it comes in; whole milliseconds are rounded down
        let half = u64::from(RPM) / 2;
        let burst = half / 10;
        for (before, ms) in received.iter().enumerate() {
            let most = burst + (ms + 1) * (half - burst) / 60_000;
            assert!((before as u64) < most, "more than its half by {ms} ms, {over}: {received:?}");
        }
    }
}

#[tokio::test]
async fn an_agents_own_rates_are_refused_with_the_time_to_wait() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let admin = running.admin();
    let rates = |rates| json!({"constraints": {"rate_limits": rates}});
    admin.put("/api/v1/embeddings/agents/few-requests", rates(json!({"requests_per_minute": 3}))).await.ok();
    admin.put("/api/v1/embeddings/agents/few-tokens", rates(json!({"tokens_per_minute": 200}))).await.ok();
    configure(&running, "one-by-one", rates(json!({"concurrent_requests": 1}))).await;
    let client = running.agent();
    let ask = |agent: &'static str, text: String| {
        let client = client.clone();
        async move { client.post("/api/v1/embeddings", unstored(agent, &text, Some(SMALL))).await }
    };

    let mut answered = 0;
    let refused = loop {
        let answer = ask("few-requests", format!("request {answered}")).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered <= 3, "more requests than the agent may make");
    };
    assert!(answered >= 1);
    refused.refused(429, "rate_limited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");

    // more than a minute has will never do
    ask("few-tokens", "word ".repeat(400)).await.refused(413, "too_large");
    let statuses =
        [ask("few-tokens", "word ".repeat(150)).await, ask("few-tokens", "other ".repeat(150)).await];
    assert_eq!(statuses[0].status, 200, "{}", statuses[0].body);
    statuses[1].refused(429, "rate_limited");

    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 500.0 }));
    let answers = join_all((0..3).map(|n| ask("one-by-one", format!("at once {n}")))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429, 429]);
    ask("one-by-one", "afterwards".to_owned()).await.ok();
    ask("somebody-else", "has no limit".to_owned()).await.ok();
}

#[tokio::test]
async fn a_request_that_would_wait_past_its_deadline_is_refused_at_once() {
    let simulator = openai(&["a-limited"]).await;
    let entries = [entry(
        &simulator.deployments()[0],
        &[SMALL],
        ", rate_limit: {requests_per_minute: 600, tokens_per_minute: 1000}",
    )];
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let client = running.agent();
    let ask = |n: usize| {
        let (client, text) = (client.clone(), format!("{n} {}", "word ".repeat(900)));
        async move {
            let started = Instant::now();
            (
                client.post("/api/v1/embeddings", unstored("eager", &text, Some(SMALL))).await,
                started.elapsed(),
            )
        }
    };
    // some minutes' worth at once
    let answers = join_all((0..6).map(ask)).await;
    let refused: Vec<_> = answers.iter().filter(|(answer, _)| answer.status != 200).collect();
    assert!(!refused.is_empty(), "six minutes of tokens were served at once");
    for (answer, took) in refused {
        answer.refused(429, "rate_limited");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(took.as_secs() < 30, "it waited {took:?} to be told to wait");
    }
}
