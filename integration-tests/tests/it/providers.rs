//! Paid providers, simulated on real sockets: failover inside a space, verified answers, exact requests.

use embermesh_testing::sim::{self, DeploymentSpec, Fault, Simulator};
use serde_json::{Value, json};

use crate::{
    books,
    client::{cosine, floats},
    running::{Running, free_port},
    simulated::QUIET,
};

const MODEL: &str = "text-embedding-3-small";

/// A system with two deployments of one space.
pub async fn two_deployments(more: &str) -> (Simulator, Running) {
    let specs = ["one", "two"]
        .map(|name| DeploymentSpec { api_key: Some("sk-test".into()), ..DeploymentSpec::named(name) });
    let simulator = Simulator::start(&specs).await.unwrap();
    let entry = |n: usize| {
        let url = simulator.deployments()[n].base_url();
        format!("{{kind: openai, base_url: '{url}', api_key: sk-test, timeout: 2s}}")
    };
    let yaml =
        format!("embedding: {{providers: {{a-one: {}, b-two: {}}}, {QUIET}}}\n{more}", entry(0), entry(1));
    let running = Running::one(&yaml).await;
    (simulator, running)
}

async fn embed(running: &Running, input: Value) -> Vec<Vec<f32>> {
    let body = json!({"model": MODEL, "input": input});
    let answer = running.agent().post("/v1/embeddings", body).await.ok();
    answer["data"].as_array().unwrap().iter().map(|item| floats(&item["embedding"])).collect()
}

#[tokio::test]
async fn n_in_n_out_in_order_with_every_text_sent_once() {
    let (simulator, running) = two_deployments("").await;
    let texts: Vec<String> = (0..40).map(|n| format!("text {}", n % 30)).collect();
    let vectors = embed(&running, json!(texts)).await;
    assert_eq!(vectors.len(), 40);
    for (text, vector) in texts.iter().zip(&vectors) {
        assert!(cosine(vector, &sim::vector(MODEL, text, 1536)) > 0.9999, "{text}");
    }
    let sent: usize = simulator.calls().iter().map(|call| call.texts.len()).sum();
    assert_eq!(sent, 30, "duplicates are sent once");
    embed(&running, json!(texts)).await;
    let sent_again: usize = simulator.calls().iter().map(|call| call.texts.len()).sum();
    assert_eq!(sent_again, 30, "the second time nothing is sent");
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_not_paid() {
    let simulator = Simulator::start(&[DeploymentSpec::named("two")]).await.unwrap();
    let [gone, there] =
        [format!("http://127.0.0.1:{}/v1", free_port()), simulator.deployments()[0].base_url()]
            .map(|url| format!("{{kind: openai, base_url: '{url}', api_key: sk-test, timeout: 2s}}"));
    let running =
        Running::one(&format!("embedding: {{providers: {{a-gone: {gone}, b-two: {there}}}, {QUIET}}}")).await;
    let sql = running.sql().await;
    // which of the two is tried first is the router's choice
    let tried = "SELECT count(*) FROM ledger.attempts WHERE deployment = 'a-gone'";
    for n in 0.. {
        embed(&running, json!([format!("nobody listens at the first {n}")])).await;
        if sql.query_one(tried, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            break;
        }
        assert!(n < 50, "the one that is gone is never tried");
    }
    books::ended(&sql, simulator.calls().len()).await;
    let select =
        "SELECT DISTINCT deployment, state, amount_nano_usd = 0 FROM ledger.attempts ORDER BY deployment";
    let rows = sql.query(select, &[]).await.unwrap();
    let booked: Vec<(&str, &str, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(booked, [("a-gone", "voided", true), ("b-two", "settled", false)]);
    books::add_up(&sql).await;
}

#[tokio::test]
async fn with_every_deployment_down_the_answer_is_503_with_retry_after_and_memory_still_serves() {
    let (simulator, running) = two_deployments("").await;
    embed(&running, json!(["known"])).await;
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(503).forever()]);
    }
    let answer = running.agent().post("/v1/embeddings", json!({"model": MODEL, "input": "unknown"})).await;
    answer.refused(503, "unavailable");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    embed(&running, json!(["known"])).await;
    let health = running.admin().get("/api/v1/embeddings/providers/health").await.ok();
    assert_ne!(health["providers"]["a-one"]["status"], "healthy", "{health}");
    assert!(simulator.calls().len() <= 1 + 4, "few calls are made to the dead: {}", simulator.calls().len());
}

#[tokio::test]
async fn a_request_that_the_provider_refuses_is_not_tried_elsewhere() {
    let (simulator, running) = two_deployments("").await;
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(400).times(1)]);
    }
    let answer = running.agent().post("/v1/embeddings", json!({"model": MODEL, "input": "refused"})).await;
    answer.refused(400, "invalid_request");
    let [refused] = &simulator.calls()[..] else { panic!("{:?}", simulator.calls()) };
    let select = "SELECT state, amount_nano_usd FROM ledger.attempts WHERE attempt_id::text = $1";
    let sql = running.sql().await;
    books::ended(&sql, 1).await;
    let row = sql.query_one(select, &[&refused.attempt]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), ("voided", Some(0_i64)));
}

#[tokio::test]
async fn dimensions_encodings_and_eight_thousand_tokens_reach_the_provider_unchanged() {
    let (simulator, running) = two_deployments("").await;
    let agent = running.agent();
    let body = json!({"model": MODEL, "input": "short", "dimensions": 256});
    let cut = floats(&agent.post("/v1/embeddings", body).await.ok()["data"][0]["embedding"]);
    assert!(cosine(&cut, &sim::vector(MODEL, "short", 256)) > 0.9999);

    let long: String = (0..8000).map(|n| if n % 7 == 0 { " 日本" } else { " word" }).collect::<String>()[..]
        .chars()
        .take(30_000)
        .collect();
    let made =
        agent.post("/api/v1/embeddings", json!({"agent_id": "l", "text": long, "model": MODEL})).await.ok();
    assert!(made["tokens_used"].as_u64().unwrap() > 5000, "{}", made["tokens_used"]);
    let row = agent.get(&format!("/api/v1/embeddings/{}", made["embedding_id"].as_str().unwrap())).await.ok();
    assert_eq!(row["content"].as_str(), Some(long.as_str()));
    assert!(simulator.calls().iter().any(|call| call.texts.iter().any(|text| *text == long.as_str())));

    for deployment in simulator.deployments() {
        deployment.inject([Fault::IgnoreBase64.times(1)]);
    }
    let vector = embed(&running, json!(["floats though base64 was asked"])).await;
    let expected = sim::vector(MODEL, "floats though base64 was asked", 1536);
    assert!(cosine(&vector[0], &expected) > 0.9999);
}

#[tokio::test]
async fn spaces_never_mix_an_agent_stays_in_the_space_of_its_first_embedding() {
    let (simulator, running) = two_deployments("").await;
    let agent = running.agent();
    let body = |text: &str| json!({"agent_id": "pinned", "text": text});
    let first = agent.post("/api/v1/embeddings", body("first")).await.ok();
    assert_eq!(first["space_id"], "openai/text-embedding-3-small@1536");
    // its preferences change, its space does not
    let preference = json!([{"task_type": "general_qa", "primary_models": ["all-MiniLM-L6-v2"]}]);
    running
        .admin()
        .put("/api/v1/embeddings/agents/pinned", json!({"model_preferences": preference}))
        .await
        .ok();
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(500).forever()]);
    }
    agent.post("/api/v1/embeddings", body("second")).await.refused(503, "unavailable");
    for deployment in simulator.deployments() {
        deployment.heal();
    }
    let models = running.admin().get("/api/v1/embeddings/agents/pinned/models").await.ok();
    assert_eq!(models["pinned_space_id"], "openai/text-embedding-3-small@1536", "{models}");
    // the local model is another space: named in the answer, not mixed into it
    let local = json!({"agent_id": "pinned", "text": "elsewhere", "model": "all-MiniLM-L6-v2"});
    agent.post("/api/v1/embeddings", local).await.ok();
    let query = json!({"agent_id": "pinned", "query": "first", "model": "all-MiniLM-L6-v2"});
    let found = agent.post("/api/v1/embeddings/search", query).await.ok();
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!(found["other_spaces"], json!(["openai/text-embedding-3-small@1536"]));
}

#[tokio::test]
async fn a_short_outage_does_not_decide_where_a_new_agents_vectors_lie() {
    let (simulator, running) = two_deployments("").await;
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(500).forever()]);
    }
    let body = json!({"agent_id": "newborn", "text": "born during an outage"});
    for _ in 0..8 {
        running.agent().post("/api/v1/embeddings", body.clone()).await.refused(503, "unavailable");
    }
    let models = running.admin().get("/api/v1/embeddings/agents/newborn/models").await.ok();
    assert_ne!(models["pinned_model"], "all-MiniLM-L6-v2", "{models}");
}

#[tokio::test]
async fn a_batch_is_split_by_the_tokens_that_one_call_takes() {
    let (simulator, running) = two_deployments("").await;
    let text = |n: usize| format!("{n} {}", "word ".repeat(7_000));
    let texts: Vec<String> = (0..45).map(text).collect();
    let vectors = embed(&running, json!(texts)).await;
    for (text, vector) in texts.iter().zip(&vectors) {
        assert!(cosine(vector, &sim::vector(MODEL, text, 1536)) > 0.9999);
    }
    assert!(simulator.calls().iter().all(|call| call.status == Some(200)), "a call was over the limit");
    assert!(simulator.calls().len() > 1);
}

#[tokio::test]
async fn an_agent_decides_how_often_a_failed_call_is_followed_by_another() {
    let (simulator, running) = two_deployments("").await;
    let fallback = json!({"fallback_behavior": {"max_retries": 0}});
    running.admin().put("/api/v1/embeddings/agents/once", fallback).await.ok();
    // in force at the router within a second
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    for deployment in simulator.deployments() {
        deployment.inject([Fault::status(500).times(1)]);
    }
    let body = json!({"agent_id": "once", "text": "called once", "model": MODEL});
    running.agent().post("/api/v1/embeddings", body.clone()).await.refused(503, "unavailable");
    assert_eq!(simulator.calls().len(), 1);
    for deployment in simulator.deployments() {
        deployment.heal();
    }
    running.agent().post("/api/v1/embeddings", body).await.ok();
}
