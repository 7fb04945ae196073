//! Personal data is gone before provider, store, logs and metrics see the text.

use embermesh_testing::sim::{DeploymentSpec, Simulator};
use serde_json::json;

use crate::{running::Running, secrets::PERSONAL as SECRETS};

#[tokio::test]
async fn scrub_first_nothing_behind_the_gateway_sees_personal_data() {
    let simulator = Simulator::start(&[DeploymentSpec::named("sim")]).await.unwrap();
    let url = simulator.deployments()[0].base_url();
    let yaml = format!(
        "logging: {{level: debug}}\nembedding: {{providers: {{openai: {{base_url: '{url}', api_key: sk-canary-secret, models: [text-embedding-3-small]}}}}}}"
    );
    let running = Running::one(&yaml).await;
    let text =
        format!("mail {}, ssn {}, card {}, call {} now", SECRETS[0], SECRETS[1], SECRETS[2], SECRETS[3]);
    let request = json!({"agent_id": "p", "text": text, "metadata": {"note": text}});
    let made = running.agent().post("/api/v1/embeddings", request).await.ok();
    let counts = &made["pii"]["counts"];
    assert_eq!(made["pii"]["action"], "redact", "{made}");
    for entity in ["email", "us_ssn", "credit_card", "phone"] {
        assert!(counts[entity].as_u64() >= Some(1), "{entity}: {made}");
    }
    let row = running
        .agent()
        .get(&format!("/api/v1/embeddings/{}", made["embedding_id"].as_str().unwrap()))
        .await
        .ok();
    assert!(row["content"].as_str().unwrap().contains("[EMAIL]"), "{row}");
    let tokens = json!({"model": "text-embedding-3-small", "input": "again jane.roe@example.com"});
    running.agent().post("/v1/embeddings", tokens).await.ok();
    let metrics = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("pii_detections_total"), "{metrics}");

    let sent = format!("{:?}", simulator.calls());
    let logs = running.logs();
    for secret in SECRETS {
        for (place, seen) in [
            ("provider", &sent),
            ("row", &row.to_string()),
            ("answer", &made.to_string()),
            ("log", &logs),
            ("metrics", &metrics),
        ] {
            assert!(!seen.contains(secret), "{secret} reached the {place}");
        }
    }
    let [admin, agent] = ["admin_key", "agent_key"].map(|name| running.keys[name].as_str().unwrap());
    // the first start shows the keys on standard output, once, by design
    let curl = |path: &str| {
        format!(
            "  curl -s {}/api/v1/{path} -H 'X-API-Key: {agent}' -H 'Content-Type: application/json' \\",
            running.url
        )
    };
    let banner = [
        format!("  admin key  {admin}"),
        format!("  agent key  {agent}"),
        curl("embeddings"),
        curl("embeddings/search"),
    ];
    for line in &banner {
        assert_eq!(logs.lines().filter(|shown| shown == line).count(), 1, "{line}");
    }
    let logged: String = logs.lines().filter(|line| !banner.iter().any(|shown| shown == line)).collect();
    for key in ["sk-canary-secret", admin, agent] {
        assert!(!logged.contains(key) && !metrics.contains(key), "a key reached the logs");
    }
}

#[tokio::test]
async fn a_query_passes_the_same_policy_as_the_documents_it_looks_for() {
    let running = Running::one("").await;
    let agent = running.agent();
    agent
        .post(
            "/api/v1/embeddings",
            json!({"agent_id": "q", "text": "Ask jane.roe@example.com about the invoice"}),
        )
        .await
        .ok();
    let query = json!({"agent_id": "q", "query": "Ask jane.roe@example.com about the invoice", "limit": 1});
    let found = agent.post("/api/v1/embeddings/search", query).await.ok();
    assert!(found["results"][0]["similarity"].as_f64().unwrap() > 0.99, "{found}");
    assert_eq!(found["pii"]["counts"]["email"], 1, "{found}");
}

#[tokio::test]
async fn a_rejection_names_kinds_and_places_but_no_values() {
    let running = Running::one("pii_detection: {action: reject}").await;
    let answer = running.agent().post("/api/v1/embeddings", json!({"text": "to jane.roe@example.com"})).await;
    answer.refused(422, "pii_rejected");
    let body = answer.body.to_string();
    assert!(body.contains("email") && !body.contains("jane.roe"), "{body}");
}
