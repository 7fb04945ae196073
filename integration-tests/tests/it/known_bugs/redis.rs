//! The cache in Redis: it survives a restart, tells nothing, does not keep itself alive, and nobody waits for it.

use std::time::Duration;

use embermesh_cache::testing::TestRedis;
use embermesh_proto::v1::{EmbedRequest, embeddings_client::EmbeddingsClient};
use serde_json::json;
use tonic::Request;

use crate::{
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, assert_right, entry, openai, unstored, yaml},
};

/// fred's own default lets a command to a hanging Redis wait for longer.
const DEADLINE: &str = "4000m";

/// Embeds texts that nobody knows, each within a deadline.
async fn strangers(running: &Running, name: &str) {
    let channel = tonic::transport::Endpoint::new(running.url.clone()).unwrap().connect().await.unwrap();
    let mut client = EmbeddingsClient::new(channel);
    for n in 0..10 {
        let mut request = Request::new(EmbedRequest {
            agent_id: "stranger".to_owned(),
            text: format!("{name} {n}"),
            model: Some(SMALL.to_owned()),
            store: Some(false),
            ..EmbedRequest::default()
        });
        request
            .metadata_mut()
            .insert("x-api-key", running.keys["agent_key"].as_str().unwrap().parse().unwrap());
        request.metadata_mut().insert("grpc-timeout", DEADLINE.parse().unwrap());
        let answer = client.embed(request).await;
        assert!(answer.is_ok(), "{name} {n}: {answer:?}");
    }
}

/// BerriAI/litellm#34299, #35273, #36804, #40620; redis/redis-vl-python#603 and the `EmbeddingsCache` of redisvl.
#[tokio::test]
async fn what_is_kept_in_redis_outlives_a_restart_and_nobody_waits_for_redis() {
    let mut redis = TestRedis::start();
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    // a busy machine is no reason for a miss here
    let patient = "store: {redis: {timeout_ms: 200}}\n";
    let config = format!("{}redis: {{url: '{}'}}\n{patient}", yaml(&entries, &[QUIET]), redis.url());
    let mut running = Running::one(&config).await;

    let texts: Vec<String> = (0..5).map(|n| format!("secretly kept {n}")).collect();
    let body = json!({"model": SMALL, "input": texts});
    running.agent().post("/v1/embeddings", body.clone()).await.ok();
    let keys = || {
        let all = redis.cli(&["KEYS", "embedding:v2:*"]);
        let mut all: Vec<String> = all.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect();
        all.sort_unstable();
        all
    };
    wait_until(|| async { keys().len() == texts.len() }).await;
    let left = |key: &String| redis.cli(&["PTTL", key]).parse::<i64>().unwrap();
    let known_keys = keys();
    let before: Vec<i64> = known_keys.iter().map(left).collect();
    for key in keys() {
        assert!(!redis.cli(&["GET", &key]).contains("secretly"), "{key} holds the text");
    }
    assert!(before.iter().all(|left| *left > 0), "{before:?}");

    running.start_again("gateway").await;
    // nobody waits for Redis, so a restarted process may answer before it has found it
    for n in 0.. {
        let other = json!({"model": SMALL, "input": [format!("is it there {n}")]});
        running.agent().post("/v1/embeddings", other).await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if keys().len() > texts.len() {
            break;
        }
        assert!(n < 500, "a restarted process never finds Redis");
    }
    simulator.clear_calls();
    let known = running.agent().post("/v1/embeddings", body).await;
    assert_eq!(known.header("x-embermesh-cached"), "5/5", "{}", known.body);
    assert!(simulator.calls().is_empty());
    let after: Vec<i64> = known_keys.iter().map(left).collect();
    assert!(after.iter().zip(&before).all(|(after, before)| after <= before), "{before:?} {after:?}");

    redis.pause();
    strangers(&running, "while redis hangs").await;
    redis.resume();
    redis.kill();
    strangers(&running, "while redis is dead").await;
    let text = "known without redis";
    for cached in [false, true] {
        let answer =
            running.agent().post("/api/v1/embeddings", unstored("stranger", text, Some(SMALL))).await.ok();
        assert_eq!(answer["cached"], cached);
        assert_right(&answer, SMALL, text);
    }
}
