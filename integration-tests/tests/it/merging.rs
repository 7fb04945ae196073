//! Work that is done once: one call for a text that many ask for, none for what is known, one for many small requests.

use std::{collections::BTreeSet, time::Duration};

use embermesh_proto::v1::EmbedRequest;
use embermesh_testing::sim::{self, Fault, Latency};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    books,
    client::{cosine, floats},
    simulated::{QUIET, SMALL, assert_right, configure, system, unstored},
    timed,
};

#[tokio::test]
async fn a_thousand_requests_for_one_text_are_one_call_that_one_of_them_pays() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 1500.0 }));
    let (text, client) = ("the text that everybody wants", running.agent());
    let answers = join_all((0..1000).map(|n| {
        let body = unstored(&format!("agent-{}", n % 10), text, Some(SMALL));
        let client = client.clone();
        async move { client.post("/api/v1/embeddings", body).await.ok() }
    }))
    .await;
    assert_eq!(simulator.calls().len(), 1);
    let paid: Vec<&Value> = answers.iter().filter(|answer| answer["cached"] == false).collect();
    assert_eq!(paid.len(), 1);
    assert!(paid[0]["cost_usd"].as_f64().unwrap() > 0.0, "{}", paid[0]["cost_usd"]);
    for answer in &answers {
        assert_right(answer, SMALL, text);
        assert!(answer["cached"] == false || answer["cost_usd"] == 0, "{}", answer["cost_usd"]);
    }
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}

#[tokio::test]
async fn who_joins_a_request_that_has_little_time_does_not_fail_with_it() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let once = json!({"fallback_behavior": {"max_retries": 0}});
    configure(&running, "hasty", once).await;
    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 800.0 }));
    let text = "wanted by both";
    let hasty = EmbedRequest {
        agent_id: "hasty".into(),
        text: text.into(),
        model: Some(SMALL.into()),
        store: Some(false),
        ..EmbedRequest::default()
    };
    let client = running.agent();
    let patient = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.post("/api/v1/embeddings", unstored("patient", text, Some(SMALL))).await
    };
    let (hasty, patient) = tokio::join!(timed::embed(&running, &hasty, Duration::from_millis(400)), patient);
    let refused = hasty.0.unwrap_err();
    assert_eq!(refused.0, timed::DEADLINE_EXCEEDED, "{}", refused.1);
    assert_right(&patient.ok(), SMALL, text);
}

#[tokio::test]
async fn of_a_batch_only_what_is_not_known_is_sent_in_order_and_paid() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let client = running.agent();
    let text = |n: usize| format!("entry {n} of a batch, {}", "word ".repeat(n % 9));
    // every fifth is new
    let entry = |n: usize| unstored("merger", &text(n), Some(SMALL));
    let known: Vec<Value> = (0..100).filter(|n| n % 5 != 3).map(entry).collect();
    assert_eq!(known.len(), 80);
    client.post("/api/v1/embeddings/batch", json!(known)).await.ok();
    simulator.clear_calls();

    let all: Vec<Value> = (0..100).map(entry).collect();
    let answer = client.post("/api/v1/embeddings/batch", json!(all)).await;
    assert_eq!(answer.header("x-embermesh-cached"), "80/100");
    let answer = answer.ok();
    let calls = simulator.calls();
    let [call] = &calls[..] else { panic!("{calls:?}") };
    let fresh: Vec<String> = (0..100).filter(|n| n % 5 == 3).map(text).collect();
    assert_eq!(call.texts, fresh, "exactly the twenty, in the order of the batch");
    // 0.02 USD per million tokens
    let cost = (answer["total_cost_usd"].as_f64().unwrap() * 1e9).round();
    assert_eq!(cost, call.tokens as f64 * 20.0, "{}", answer["total_cost_usd"]);
    for (n, entry) in answer["embeddings"].as_array().unwrap().iter().enumerate() {
        assert_right(entry, SMALL, &text(n));
        assert_eq!(entry["cached"], n % 5 != 3, "{n}");
        assert_eq!(entry["cost_usd"] == 0, n % 5 != 3, "{n}: {}", entry["cost_usd"]);
    }
}

#[tokio::test]
async fn a_shorter_vector_of_a_nested_model_is_cut_from_the_longer_one_that_is_known() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let (client, text) = (running.agent(), "cut to size");
    client.post("/api/v1/embeddings", unstored("cutter", text, Some(SMALL))).await.ok();
    let mut body = unstored("cutter", text, Some(SMALL));
    body["dimensions"] = 256.into();
    let cut = client.post("/api/v1/embeddings", body).await.ok();
    assert_eq!(
        (&cut["cached"], &cut["space_id"]),
        (&json!(true), &json!("openai/text-embedding-3-small@256"))
    );
    let vector = floats(&cut["embedding"]);
    assert!(cosine(&vector, &sim::vector(SMALL, text, 256)) > 0.9999);
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
    assert_eq!(simulator.calls().len(), 1);
    // but never a longer one from a shorter one
    let mut short = unstored("cutter", "short first", Some(SMALL));
    short["dimensions"] = 256.into();
    client.post("/api/v1/embeddings", short).await.ok();
    let long = client.post("/api/v1/embeddings", unstored("cutter", "short first", Some(SMALL))).await.ok();
    assert_eq!(long["cached"], false);
    assert_right(&long, SMALL, "short first");
}

/// A deployment that takes one call at a time, busy with a first one: what comes meanwhile shares the next.
const ONE_AT_A_TIME: &str = "router: {canary_interval: 0s, max_concurrent_calls: 1}";

#[tokio::test]
async fn small_requests_that_wait_share_one_call_and_each_pays_its_own_tokens() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[ONE_AT_A_TIME]).await;
    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 400.0 }));
    let client = running.agent();
    let ask = |agent: String, text: String| {
        let client = client.clone();
        async move { client.post("/api/v1/embeddings", unstored(&agent, &text, Some(SMALL))).await.ok() }
    };
    let texts: Vec<String> = (0..30).map(|n| format!("shared {n} {}", "word ".repeat(n))).collect();
    let others = join_all(texts.iter().enumerate().map(|(n, text)| {
        let asked = ask(format!("agent-{n}"), text.clone());
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            asked.await
        }
    }));
    let (_, answers) = tokio::join!(ask("first".to_owned(), "the first".to_owned()), others);
    let calls = simulator.calls();
    assert!(calls.len() <= 3, "{} calls for 31 requests", calls.len());
    let sent: BTreeSet<&String> = calls.iter().flat_map(|call| &call.texts).collect();
    assert_eq!(sent.len(), 31);
    for (text, answer) in texts.iter().zip(&answers) {
        assert_right(answer, SMALL, text);
        assert_eq!(answer["tokens_used"], sim::count_tokens(text), "{text}");
        let cost = (answer["cost_usd"].as_f64().unwrap() * 1e9).round();
        assert_eq!(cost, sim::count_tokens(text) as f64 * 20.0, "{text}");
    }
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}

#[tokio::test]
async fn a_text_that_the_provider_refuses_fails_alone_though_others_shared_its_call() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[ONE_AT_A_TIME]).await;
    let deployment = &simulator.deployments()[0];
    deployment.set_latency(Some(Latency::Fixed { ms: 400.0 }));
    deployment.refuse_text(Some("poison"));
    let client = running.agent();
    let ask = |n: usize, text: String| {
        let client = client.clone();
        async move {
            // the first keeps the deployment busy
            tokio::time::sleep(std::time::Duration::from_millis(if n == 0 { 0 } else { 150 })).await;
            client.post("/api/v1/embeddings", unstored(&format!("agent-{n}"), &text, Some(SMALL))).await
        }
    };
    let text = |n: usize| if n == 4 { "a drop of poison".to_owned() } else { format!("harmless {n}") };
    let answers = join_all((0..10).map(|n| ask(n, text(n)))).await;
    let calls = simulator.calls();
    let shared = calls.iter().filter(|call| call.status == Some(400) && call.texts.len() > 1).count();
    assert!(shared >= 1, "no call was shared with the poison: {calls:?}");
    for (n, answer) in answers.into_iter().enumerate() {
        if n == 4 {
            answer.refused(400, "invalid_request");
        } else {
            assert_right(&answer.ok(), SMALL, &text(n));
        }
    }
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}

#[tokio::test]
async fn of_a_batch_in_several_calls_only_the_failed_one_is_sent_again() {
    let (simulator, running) = system(&["a-one", "b-two"], &[SMALL], &[QUIET]).await;
    let text = |n: usize| format!("{n} {}", "word ".repeat(7_000));
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(500).times(1)]);
    }
    let batch: Vec<Value> = (0..90).map(|n| unstored("slices", &text(n), Some(SMALL))).collect();
    let mut bodies: Vec<Value> = batch;
    for body in &mut bodies {
        body["return_vector"] = false.into();
    }
    let answer = running.agent().post("/api/v1/embeddings/batch", json!(bodies)).await.ok();
    assert_eq!((&answer["count"], &answer["failed"]), (&json!(90), &json!(0)));
    let calls = simulator.calls();
    let failed = calls.iter().filter(|call| call.status != Some(200)).count();
    let sent: usize = calls.iter().filter(|call| call.status == Some(200)).map(|call| call.texts.len()).sum();
    assert!(failed >= 1, "{}", calls.len());
    assert_eq!(sent, 90, "no text that had its vector was sent again");
}
