//! Invariant: no key, text, vector or personal data in logs, metrics and errors. Every [`Running`] is searched at its end; here they are
//! as talkative as they can be, and every route is touched, with what it wants and with what it refuses.

use embermesh_testing::sim::{DeploymentSpec, Simulator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::Running,
    secrets::{PERSONAL, TEXT},
};

const EMBED: &str = "/api/v1/embeddings";
const MODEL: &str = "text-embedding-3-small";
/// Of the simulated provider.
const CREDENTIAL: &str = "sk-canary-of-the-provider";

async fn simulator() -> (Simulator, String) {
    let spec = DeploymentSpec { api_key: Some(CREDENTIAL.to_owned()), ..DeploymentSpec::named("sim") };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let url = simulator.deployments()[0].base_url();
    let entry = format!("{{base_url: '{url}', api_key: {CREDENTIAL}, models: [{MODEL}]}}");
    let yaml = format!("logging: {{level: trace}}\nembedding: {{providers: {{openai: {entry}}}}}\n");
    (simulator, yaml)
}

/// A text with everything in it that must not be seen.
fn text() -> String {
    format!("{TEXT} mail {}, ssn {}, card {}, call {}", PERSONAL[0], PERSONAL[1], PERSONAL[2], PERSONAL[3])
}

/// What clients do when all goes well.
async fn use_it(agent: &Client, admin: &Client) {
    let text = text();
    let stored =
        json!({"agent_id": "a", "text": text, "model": MODEL, "metadata": {"note": text}, "context_id": "c"});
    let made = agent.post(EMBED, stored).await.ok();
    assert!(made["pii"]["counts"]["email"].as_u64() >= Some(1), "{made}");
    agent.get(&format!("{EMBED}/{}", made["embedding_id"].as_str().unwrap())).await.ok();
    let batch = json!([{"agent_id": "a", "text": text, "model": MODEL}, {"agent_id": "a", "text": ""}]);
    agent.post("/api/v1/embeddings/batch", batch).await.ok();
    let query = json!({"agent_id": "a", "query": text, "model": MODEL, "metadata_filter": {"note": TEXT}});
    agent.post("/api/v1/embeddings/search", query).await.ok();
    agent.post("/v1/embeddings", json!({"model": MODEL, "input": [text, "more"], "user": "a"})).await.ok();
    let keyed = json!({"agent_id": "a", "text": text, "model": MODEL}).to_string();
    agent.send_with(Method::POST, EMBED, keyed, &[("idempotency-key", "once")]).await.ok();
    let made = admin.post("/api/v1/admin/keys", json!({"name": "another"})).await.ok();
    let path = format!("/api/v1/admin/keys/{}", made["id"].as_str().unwrap());
    admin.post(&format!("{path}/rotate"), json!({"overlap": "1h"})).await.ok();
    admin.post(&format!("{path}/revoke"), json!({})).await.ok();
    admin.put(&format!("{EMBED}/agents/a"), json!({"metadata": {"note": TEXT}})).await.ok();
}

/// What they do when nothing does.
async fn misuse_it(running: &Running, agent: &Client, admin: &Client) {
    let text = text();
    for body in [
        json!({"agent_id": "a", "text": [text]}),
        json!({"agent_id": "a", "text": text, "model": MODEL, "metadata": text}),
        json!({"agent_id": "a", "text": text, "dimensions": text}),
        json!({"agent_id": "a", "text": text, "model": MODEL, "dimensions": 7_000}),
        json!({"agent_id": "a", "query": text, "created_after": text}),
        json!({"agent_id": "a", "query": text, "model": MODEL, "metadata_filter": {"note": text}}),
    ] {
        for path in [EMBED, "/api/v1/embeddings/search", "/v1/embeddings"] {
            assert!(agent.post(path, body.clone()).await.status >= 400, "{path} {body}");
        }
    }
    agent.send(Method::POST, EMBED, format!("{{\"text\": \"{text}")).await.refused(400, "invalid_request");
    // a key that is good elsewhere, as a typist might send it
    let foreign = embermesh_auth::ApiKey::generate("live", &mut rand::rng());
    Client::new(&running.url, foreign.reveal()).get(EMBED).await.refused(401, "unauthenticated");
    let document: Value = agent.get("/openapi.json").await.ok();
    let refused =
        json!({"text": {"is": text}, "name": [text], "agent_id": {"a": text}, "id": [foreign.reveal()]});
    for (path, operations) in document["paths"].as_object().unwrap() {
        for verb in operations.as_object().unwrap().keys() {
            let verb: Method = verb.to_uppercase().parse().unwrap();
            let path: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "absent" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            for client in [agent, admin] {
                for body in [refused.to_string(), "{}".to_owned()] {
                    let body = if verb == Method::GET { String::new() } else { body };
                    client.send(verb.clone(), &path, body).await;
                }
            }
        }
    }
}

async fn nothing_leaks(running: Running) {
    let (agent, admin) = (running.agent(), running.admin());
    use_it(&agent, &admin).await;
    misuse_it(&running, &agent, &admin).await;
    let logs = running.logs();
    assert!(logs.contains("DEBUG") && logs.contains("/api/v1/embeddings/search"), "they are not talkative");
    // it is searched when it is dropped
    drop(running);
}

#[tokio::test]
async fn nothing_secret_leaks_from_one_process() {
    let (_simulator, yaml) = simulator().await;
    nothing_leaks(Running::one(&yaml).await).await;
}

#[tokio::test]
async fn nothing_secret_leaks_from_five_processes() {
    let (_simulator, yaml) = simulator().await;
    nothing_leaks(Running::five(&yaml).await).await;
}
