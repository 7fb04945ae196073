//! Deployments that give other vectors than the rest of their space: never let in, or found out and taken out.

use std::time::{Duration, Instant};

use embermesh_testing::sim::{DeploymentSpec, Latency, Simulator};
use futures::future::join_all;
use serde_json::json;

use crate::{
    client::floats,
    running::{Running, wait_until},
    simulated::{SMALL, assert_right, candidate, entry, explain, is_right, metric, unstored, yaml},
};

const EVERY_SECOND: &str = "router: {canary_interval: 1s}";

async fn embed(running: &Running, text: &str) -> serde_json::Value {
    running.agent().post("/api/v1/embeddings", unstored("drifter", text, Some(SMALL))).await.ok()
}

/// Has both deployments in use and known to be right, then takes the first away; what gives it back is the answer.
async fn only_the_second_is_called(running: &Running) -> serde_json::Value {
    let labels = [r#"provider="b-two""#, SMALL];
    for n in 0.. {
        embed(running, &format!("warming up {n}")).await;
        if metric(running, "embedding_drift{", &labels).await == Some(0.0) {
            break;
        }
        assert!(n < 2000, "the second deployment is never looked at");
    }
    let one = json!({"deployment": format!("a-one/{SMALL}")});
    running.admin().post("/api/v1/admin/circuit-breaker/force-open", one.clone()).await.ok();
    wait_until(|| async {
        explain(running, "drifter", json!({"model": SMALL})).await["chosen"] == format!("b-two/{SMALL}")
    })
    .await;
    one
}

/// The texts that got drifted vectors before the second deployment, the only one, was found out.
async fn served_until_noticed(running: &Running, round: u32) -> Vec<String> {
    let since = Instant::now();
    let (client, mut drifted, mut answered) = (running.agent(), Vec::new(), 0);
    while metric(running, "embedding_drift{", &[r#"provider="b-two""#, SMALL]).await != Some(1.0) {
        assert!(since.elapsed().as_secs() < 60, "the drift is never noticed");
        let texts: Vec<String> = (0..12).map(|n| format!("meanwhile {round} {answered} {n}")).collect();
        let asked = texts
            .iter()
            .map(|text| client.post("/api/v1/embeddings", unstored("drifter", text, Some(SMALL))));
        for (text, answer) in texts.iter().zip(join_all(asked).await) {
            answered += 1;
            // found out: there is nobody else
            if answer.status == 503 {
                continue;
            }
            if !is_right(&floats(&answer.ok()["embedding"]), SMALL, text) {
                drifted.push(text.clone());
            }
        }
    }
    let noticed = since.elapsed();
    println!("drift noticed after {noticed:?}, with {} of {answered} vectors drifted", drifted.len());
    drifted
}

#[tokio::test]
async fn a_deployment_that_drifts_is_out_within_a_period_and_nothing_it_made_is_served() {
    let specs = ["a-one", "b-two"].map(DeploymentSpec::named);
    let simulator = Simulator::start(&specs).await.unwrap();
    let entries: Vec<String> =
        simulator.deployments().iter().map(|d| entry(d, &[SMALL], ", timeout: 2s")).collect();
    let running = Running::one(&yaml(&entries, &["router: {canary_interval: 3s}"])).await;
    let labels = [r#"provider="b-two""#, SMALL];
    let one = only_the_second_is_called(&running).await;
    wait_until(|| async {
        metric(&running, "embedding_canary_cosine{", &labels).await.is_some_and(|c| c > 0.9999)
    })
    .await;

    let mut drifted = Vec::new();
    // a canary may come before the first text: then nothing was shown, and it drifts again
    for round in 0.. {
        assert!(round < 20, "nothing ever goes to the drifted deployment: the test shows nothing");
        simulator.deployments()[1].drift(7);
        drifted = served_until_noticed(&running, round).await;
        if !drifted.is_empty() {
            break;
        }
        simulator.deployments()[1].drift(0);
        wait_until(|| async { metric(&running, "embedding_drift{", &labels).await == Some(0.0) }).await;
    }
    running.admin().post("/api/v1/admin/circuit-breaker/reset", one).await.ok();
    wait_until(|| async {
        explain(&running, "drifter", json!({"model": SMALL})).await["chosen"] == format!("a-one/{SMALL}")
    })
    .await;

    let explained = explain(&running, "drifter", json!({"model": SMALL})).await;
    let out = candidate(&explained, &format!("b-two/{SMALL}"));
    assert_eq!(out["status"], "excluded", "{out}");
    let cosine = metric(&running, "embedding_canary_cosine{", &labels).await.unwrap();
    assert!(cosine < 0.9, "{cosine}");
    // what it made is served no more, from no cache, and nothing new comes from it
    for text in &drifted {
        let again = embed(&running, text).await;
        assert!(
            is_right(&floats(&again["embedding"]), SMALL, text),
            "{text:?} is drifted, cached: {}",
            again["cached"]
        );
        assert_eq!(again["provider"], "a-one");
    }
    let texts: Vec<String> = (0..30).map(|n| format!("afterwards {n}")).collect();
    for (text, answer) in texts.iter().zip(join_all(texts.iter().map(|text| embed(&running, text))).await) {
        assert_right(&answer, SMALL, text);
        assert_eq!(answer["provider"], "a-one");
    }
    let health = running.admin().get("/api/v1/embeddings/providers/health").await.ok();
    assert_eq!(health["providers"]["b-two"]["status"], "unhealthy", "{health}");

    // once it is right again it serves again
    simulator.deployments()[1].drift(0);
    wait_until(|| async { metric(&running, "embedding_drift{", &labels).await == Some(0.0) }).await;
}

#[tokio::test]
async fn what_was_under_way_when_a_drift_was_noticed_is_not_kept() {
    let specs = ["a-one", "b-two"].map(DeploymentSpec::named);
    let simulator = Simulator::start(&specs).await.unwrap();
    let entries: Vec<String> =
        simulator.deployments().iter().map(|d| entry(d, &[SMALL], ", timeout: 5s")).collect();
    let running = Running::one(&yaml(&entries, &[EVERY_SECOND])).await;
    let labels = [r#"provider="b-two""#, SMALL];
    let one = only_the_second_is_called(&running).await;
    // slow enough that some call is always under way, the canary's among them
    simulator.deployments()[1].set_latency(Some(Latency::Fixed { ms: 600.0 }));
    simulator.deployments()[1].drift(7);
    let client = running.agent();
    let texts: Vec<String> = (0..80).map(|n| format!("under way {n}")).collect();
    join_all(texts.iter().enumerate().map(|(n, text)| {
        let (client, body) = (client.clone(), unstored("drifter", text, Some(SMALL)));
        async move {
            tokio::time::sleep(Duration::from_millis(50) * n as u32).await;
            client.post("/api/v1/embeddings", body).await
        }
    }))
    .await;
    wait_until(|| async { metric(&running, "embedding_drift{", &labels).await == Some(1.0) }).await;
    running.admin().post("/api/v1/admin/circuit-breaker/reset", one).await.ok();
    wait_until(|| async {
        explain(&running, "drifter", json!({"model": SMALL})).await["chosen"] == format!("a-one/{SMALL}")
    })
    .await;
    let mut wrong = Vec::new();
    for text in &texts {
        let again = embed(&running, text).await;
        if !is_right(&floats(&again["embedding"]), SMALL, text) {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "drifted, and served from memory: {wrong:?}");
}

#[tokio::test]
async fn a_deployment_with_other_vectors_under_the_same_name_never_serves() {
    let right = DeploymentSpec::named("a-right");
    let wrong = DeploymentSpec { seed: 9, ..DeploymentSpec::named("b-wrong") };
    let simulator = Simulator::start(&[right, wrong]).await.unwrap();
    let entries: Vec<String> =
        simulator.deployments().iter().map(|d| entry(d, &[SMALL], ", timeout: 2s")).collect();
    let running = Running::one(&yaml(&entries, &["router: {canary_interval: 15m}"])).await;
    assert_right(&embed(&running, "the founder's").await, SMALL, "the founder's");
    // slow enough that any other deployment would be called, had it been let in
    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 100.0 }));
    let texts: Vec<String> = (0..60).map(|n| format!("text {n}")).collect();
    for chunk in texts.chunks(12) {
        for (text, answer) in chunk.iter().zip(join_all(chunk.iter().map(|text| embed(&running, text))).await)
        {
            assert_right(&answer, SMALL, text);
            assert_eq!(answer["provider"], "a-right");
        }
    }
    let name = format!("b-wrong/{SMALL}");
    wait_until(|| async {
        let explained = explain(&running, "drifter", json!({"model": SMALL})).await;
        let wrong = candidate(&explained, &name);
        wrong["status"] == "excluded" && !wrong["reason"].as_str().unwrap().is_empty()
    })
    .await;
    let served = simulator.calls().into_iter().filter(|call| call.deployment == "b-wrong");
    assert!(served.flat_map(|call| call.texts).all(|text| !texts.contains(&text)));
}
