//! Deployments that are down: nobody notices while another one is up; what is known is served while none is.

use std::time::{Duration, Instant};

use embermesh_testing::sim::Fault;
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use serde_json::json;

use crate::{
    client::Client,
    running::wait_until,
    simulated::{QUIET, SMALL, assert_right, candidate, configure, explain, metric, system, unstored},
};

/// Requests at a steady pace, each for a text of its own; how many failed, and the first failure.
async fn load(client: &Client, name: &str, requests: u32, per_second: u32) -> (usize, Option<String>) {
    let mut pending = FuturesUnordered::new();
    let started = Instant::now();
    for n in 0..requests {
        let at = started + Duration::from_secs(1) * n / per_second;
        tokio::time::sleep_until(at.into()).await;
        let (client, body) = (client.clone(), unstored("steady", &format!("{name} {n}"), Some(SMALL)));
        #[expect(clippy::disallowed_methods, reason = "awaited below")]
        pending.push(tokio::spawn(async move { client.post("/api/v1/embeddings", body).await }));
    }
    let (mut failed, mut first) = (0, None);
    while let Some(answer) = pending.next().await {
        let answer = answer.unwrap();
        if answer.status != 200 {
            failed += 1;
            first.get_or_insert_with(|| format!("{} {}", answer.status, answer.body));
        }
    }
    (failed, first)
}

#[tokio::test]
async fn while_one_of_two_is_down_no_request_fails_and_the_dead_one_is_left_alone() {
    let (simulator, running) = system(&["a-one", "b-two"], &[SMALL], &[QUIET]).await;
    let client = running.agent();
    // each in turn: whichever the router likes better, one of the rounds is about it
    let mut met = 0;
    for (dead, fault) in [(0, Fault::status(503)), (1, Fault::ResetAfterRead)] {
        let name = simulator.deployments()[dead].name().to_owned();
        simulator.clear_calls();
        simulator.deployments()[dead].inject([fault.forever()]);
        let (failed, first) = load(&client, &format!("{name} is dead"), 400, 100).await;
        assert_eq!(failed, 0, "{first:?}");
        let calls = simulator.calls();
        let spans: Vec<(u64, Option<u64>)> = calls
            .iter()
            .filter(|call| call.deployment == name)
            .map(|call| (call.received_ms, call.answered_ms))
            .collect();
        met += usize::from(!spans.is_empty());
        // how many are under way when the fifth failure opens the breaker depends on the machine; the long round has the bar of 6 in 30 s
        let opened =
            spans.get(4).map_or(u64::MAX, |(received, answered)| answered.unwrap_or(*received) + 1000);
        let later = spans.iter().filter(|(received, _)| *received > opened).count();
        println!(
            "{} calls to the dead {name} in 4 s at 100 rps, {later} of them a second after the fifth",
            spans.len()
        );
        // those that a stalled machine had let in before: a third of what it would have got if nobody had noticed
        assert!(later <= 50, "{later} calls to the dead deployment: {spans:?}");
        simulator.deployments()[dead].heal();
        let all = json!({});
        running.admin().post("/api/v1/admin/circuit-breaker/reset", all).await.ok();
        let labels = [format!(r#"provider="{name}""#), r#"state="closed""#.to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        wait_until(|| async { metric(&running, "circuit_breaker_state{", &labels).await == Some(1.0) }).await;
    }
    assert!(met > 0, "no dead deployment was ever called: the rounds show nothing");
    // nobody listens at all
    simulator.deployments()[0].go_down().await;
    let (failed, first) = load(&client, "nobody listens", 200, 100).await;
    assert_eq!(failed, 0, "{first:?}");
}

#[tokio::test]
async fn an_order_to_call_a_deployment_overrules_the_breaker_of_its_host() {
    // once open it stays so for longer than the test takes
    let breaker = "circuit_breaker: {timeout: 10m}";
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET, breaker]).await;
    let (client, name) = (running.agent(), format!("a-one/{SMALL}"));
    simulator.deployments()[0].go_down().await;
    let is_open = || async {
        load(&client, &format!("nobody listens {:?}", Instant::now()), 20, 100).await;
        let explained = explain(&running, "nobody", json!({"model": SMALL})).await;
        candidate(&explained, &name)["circuit_breaker_state"] == "open"
    };
    wait_until(is_open).await;
    simulator.deployments()[0].come_up().await;
    let order = json!({"deployment": name});
    running.admin().post("/api/v1/admin/circuit-breaker/force-close", order).await.ok();
    let is_forced = || async {
        let explained = explain(&running, "nobody", json!({"model": SMALL})).await;
        candidate(&explained, &name)["circuit_breaker_state"] == "forced_closed"
    };
    wait_until(is_forced).await;
    let texts: Vec<_> = (0..10).map(|n| unstored("forced", &format!("forced {n}"), Some(SMALL))).collect();
    let answers = join_all(texts.into_iter().map(|body| client.post("/api/v1/embeddings", body))).await;
    for answer in answers {
        answer.ok();
    }
}

#[tokio::test]
async fn background_errors_open_no_breaker_and_hardly_reach_anybody() {
    let (simulator, running) = system(&["a-one", "b-two"], &[SMALL], &[QUIET]).await;
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(500).at_rate(0.1)]);
    }
    let (failed, first) = load(&running.agent(), "background", 600, 150).await;
    // three attempts in a row fail once in a thousand calls
    assert!(failed <= 6, "{failed} of 600 failed: {first:?}");
    assert!(first.as_ref().is_none_or(|first| first.starts_with("503")), "{first:?}");
    let health = running.admin().get("/api/v1/embeddings/providers/health").await.ok();
    for name in ["a-one", "b-two"] {
        assert_eq!(health["providers"][name]["circuit_breaker_state"], "closed", "{health}");
    }
    let errors = simulator.calls().iter().filter(|call| call.status == Some(500)).count();
    assert!(errors > 20, "{errors} errors: the test shows nothing");
}

#[tokio::test]
async fn an_agent_that_prefers_an_old_vector_to_an_error_gets_it_while_all_are_down() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let fallback = |use_it: bool| json!({"cache": {"ttl": "5s"}, "fallback_behavior": {"use_cache_on_failure": use_it, "max_retries": 0}});
    running.admin().put("/api/v1/embeddings/agents/strict", fallback(false)).await.ok();
    configure(&running, "thrifty", fallback(true)).await;
    let client = running.agent();
    let ask = |agent: &'static str, text: &'static str| {
        client.post("/api/v1/embeddings", unstored(agent, text, Some(SMALL)))
    };
    assert_eq!(ask("strict", "known").await.ok()["cached"], false);
    assert_eq!(ask("thrifty", "known").await.ok()["cached"], true);
    tokio::time::sleep(Duration::from_millis(5200)).await;
    simulator.deployments()[0].inject([Fault::status(500).forever()]);
    ask("strict", "known").await.refused(503, "unavailable");
    let rescued = ask("thrifty", "known").await.ok();
    assert_eq!((&rescued["cached"], &rescued["cost_usd"]), (&json!(true), &json!(0)));
    assert_right(&rescued, SMALL, "known");
    ask("thrifty", "unknown").await.refused(503, "unavailable");
    // while the provider is up, a vector that is too old is made anew
    simulator.deployments()[0].heal();
    running.admin().post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    wait_until(|| async { ask("thrifty", "unknown").await.status == 200 }).await;
    assert_eq!(ask("thrifty", "known").await.ok()["cached"], false);
}
