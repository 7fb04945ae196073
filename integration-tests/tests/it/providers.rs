//! Paid providers, simulated on real sockets: failover inside a space, verified answers, exact requests.

use std::collections::BTreeMap;

use embermesh_testing::sim::{self, DeploymentSpec, Fault, Simulator};
use serde_json::{Value, json};

use crate::{
    client::{cosine, floats},
    running::{Running, free_port},
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
    let yaml = format!("embedding: {{providers: {{a-one: {}, b-two: {}}}}}\n{more}", entry(0), entry(1));
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
async fn every_fault_fails_over_to_the_other_deployment_and_is_booked_as_what_it_was() {
    let (simulator, running) = two_deployments("").await;
    let faults = [
        // a refusal was not billed
        (Fault::status(401), "voided"),
        (Fault::status(403), "voided"),
        (Fault::status(429), "voided"),
        (Fault::status(500), "voided"),
        (Fault::status(503), "voided"),
        // whatever answered here stands before the provider, which may have gone on
        (Fault::status(408), "presumed"),
        (Fault::status(502), "presumed"),
        (Fault::status(504), "presumed"),
        // nobody can know
        (Fault::Hang, "presumed"),
        (Fault::ResetBeforeRead, "presumed"),
        (Fault::ResetAfterRead, "presumed"),
        (Fault::WrongCount, "presumed"),
        (Fault::WrongIndex, "presumed"),
        (Fault::WrongDims, "presumed"),
        (Fault::NotANumber, "presumed"),
        (Fault::ZeroVector, "presumed"),
        (Fault::TruncatedJson, "presumed"),
        (Fault::ErrorWithStatus200, "presumed"),
    ];
    let mut expected = BTreeMap::new();
    for (n, (fault, state)) in faults.into_iter().enumerate() {
        let text = format!("fault {n}");
        let first = &simulator.deployments()[0];
        first.inject([fault.clone().times(1)]);
        simulator.clear_calls();
        let vectors = embed(&running, json!([text])).await;
        assert!(cosine(&vectors[0], &sim::vector(MODEL, &text, 1536)) > 0.9999, "{fault:?}");
        let [failed, answered] = &simulator.calls()[..] else {
            panic!("{fault:?}: {:?}", simulator.calls());
        };
        assert_eq!((&*failed.deployment, failed.fault.as_ref()), ("one", Some(&fault)));
        assert_eq!((&*answered.deployment, answered.status), ("two", Some(200)));
        expected.insert(failed.attempt.clone().unwrap(), (format!("{fault:?}"), "a-one", state));
        expected.insert(answered.attempt.clone().unwrap(), (format!("{fault:?}"), "b-two", "settled"));
        first.heal();
        simulator.clear_calls();
        // a success in between keeps the breaker of the first closed
        embed(&running, json!([format!("fine {n}")])).await;
        let [fine] = &simulator.calls()[..] else { panic!("{:?}", simulator.calls()) };
        expected.insert(fine.attempt.clone().unwrap(), (format!("after {fault:?}"), "a-one", "settled"));
    }
    let metrics = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    let failovers = format!(r#"embedding_failovers_total{{from="a-one",to="b-two"}} {}"#, expected.len() / 3);
    assert!(metrics.contains(&failovers), "{failovers} is not in {metrics}");

    let sql = running.sql().await;
    let rows =
        sql.query("SELECT attempt_id::text, deployment, state FROM ledger.attempts", &[]).await.unwrap();
    assert_eq!(rows.len(), expected.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let (fault, deployment, state) = &expected[row.get::<_, &str>(0)];
            let booked: (&str, &str) = (row.get(1), row.get(2));
            (booked != (*deployment, *state)).then(|| format!("{fault}: {booked:?}, not {state}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    books_add_up(&sql).await;
}

/// Each attempt is charged to requests in full, and balances hold what was spent.
async fn books_add_up(sql: &tokio_postgres::Client) {
    let apart =
        "SELECT a.attempt_id::text, a.state, a.amount_nano_usd, coalesce(sum(c.amount_nano_usd), 0)::bigint
                 FROM ledger.attempts a LEFT JOIN ledger.charges c USING (attempt_id)
                 GROUP BY a.attempt_id, a.state, a.amount_nano_usd
                 HAVING a.amount_nano_usd IS DISTINCT FROM coalesce(sum(c.amount_nano_usd), 0)";
    let apart = sql.query(apart, &[]).await.unwrap();
    assert!(apart.is_empty(), "{apart:?}");
    let spent = "SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM ledger.attempts
                 WHERE state IN ('settled', 'presumed')";
    let spent: i64 = sql.query_one(spent, &[]).await.unwrap().get(0);
    assert!(spent > 0);
    let balances =
        "SELECT period, sum(spent)::bigint, sum(reserved)::bigint FROM ledger.balances GROUP BY 1 ORDER BY 1";
    let balances: Vec<(String, i64, i64)> = sql
        .query(balances, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(balances, ["day", "month"].map(|period| (period.to_owned(), spent, 0)));
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_not_paid() {
    let simulator = Simulator::start(&[DeploymentSpec::named("two")]).await.unwrap();
    let [gone, there] =
        [format!("http://127.0.0.1:{}/v1", free_port()), simulator.deployments()[0].base_url()]
            .map(|url| format!("{{kind: openai, base_url: '{url}', api_key: sk-test, timeout: 2s}}"));
    let running =
        Running::one(&format!("embedding: {{providers: {{a-gone: {gone}, b-two: {there}}}}}")).await;
    embed(&running, json!(["nobody listens at the first"])).await;
    let sql = running.sql().await;
    let select = "SELECT deployment, state, amount_nano_usd = 0 FROM ledger.attempts ORDER BY deployment";
    let rows = sql.query(select, &[]).await.unwrap();
    let booked: Vec<(&str, &str, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(booked, [("a-gone", "voided", true), ("b-two", "settled", false)]);
    books_add_up(&sql).await;
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
    simulator.deployments()[0].inject([Fault::status(400).times(1)]);
    let answer = running.agent().post("/v1/embeddings", json!({"model": MODEL, "input": "refused"})).await;
    answer.refused(400, "invalid_request");
    let [refused] = &simulator.calls()[..] else { panic!("{:?}", simulator.calls()) };
    let select = "SELECT state, amount_nano_usd FROM ledger.attempts WHERE attempt_id::text = $1";
    let row = running.sql().await.query_one(select, &[&refused.attempt]).await.unwrap();
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

    simulator.deployments()[0].inject([Fault::IgnoreBase64.times(1)]);
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
    simulator.deployments()[0].inject([Fault::status(500).times(1)]);
    let body = json!({"agent_id": "once", "text": "called once", "model": MODEL});
    running.agent().post("/api/v1/embeddings", body.clone()).await.refused(503, "unavailable");
    assert_eq!(simulator.calls().len(), 1);
    running.agent().post("/api/v1/embeddings", body).await.ok();
}
