//! Systems whose paid providers are simulated: their configuration, and the questions that tests ask of both sides.

use embermesh_testing::sim::{self, Deployment, DeploymentSpec, Simulator};
use serde_json::{Value, json};

use crate::{
    client::{Client, cosine, floats},
    running::{Running, wait_until},
};

pub const SMALL: &str = "text-embedding-3-small";
pub const LARGE: &str = "text-embedding-3-large";
pub const ADA: &str = "text-embedding-ada-002";
pub const SMALL_SPACE: &str = "openai/text-embedding-3-small@1536";
pub const LARGE_SPACE: &str = "openai/text-embedding-3-large@3072";
/// No canary and no equivalence probe, so that every call in the simulator's log is a client's.
pub const QUIET: &str = "router: {canary_interval: 0s}";

/// OpenAI deployments of these names.
pub async fn openai(names: &[&str]) -> Simulator {
    let specs: Vec<DeploymentSpec> = names
        .iter()
        .map(|name| DeploymentSpec { api_key: Some("sk-test".into()), ..DeploymentSpec::named(name) })
        .collect();
    Simulator::start(&specs).await.unwrap()
}

/// A provider entry, named as its deployment, for some models; `more` ends it (`, timeout: 2s`).
pub fn entry(deployment: &Deployment, models: &[&str], more: &str) -> String {
    let (name, url, models) = (deployment.name(), deployment.base_url(), models.join(", "));
    format!("{name}: {{kind: openai, base_url: '{url}', api_key: sk-test, models: [{models}]{more}}}")
}

/// The configuration of a system with these provider entries and nothing local; `sections` are of `embedding`.
pub fn yaml(entries: &[String], sections: &[&str]) -> String {
    let mut yaml = "embedding:\n  providers:\n    local: {enabled: false}\n".to_owned();
    for entry in entries {
        yaml.push_str(&format!("    {entry}\n"));
    }
    for section in sections {
        yaml.push_str(&format!("  {section}\n"));
    }
    yaml
}

/// One process on OpenAI deployments of these names, each serving `models`.
pub async fn system(names: &[&str], models: &[&str], sections: &[&str]) -> (Simulator, Running) {
    let simulator = openai(names).await;
    let entries: Vec<String> =
        simulator.deployments().iter().map(|deployment| entry(deployment, models, ", timeout: 2s")).collect();
    let running = Running::one(&yaml(&entries, sections)).await;
    (simulator, running)
}

/// A request for one text that stores nothing.
pub fn unstored(agent: &str, text: &str, model: Option<&str>) -> Value {
    let mut body = json!({"agent_id": agent, "text": text, "store": false});
    if let Some(model) = model {
        body["model"] = model.into();
    }
    body
}

/// Whether a vector is the one that every simulated deployment of `family` gives for a text.
pub fn is_right(vector: &[f32], family: &str, text: &str) -> bool {
    cosine(vector, &sim::vector(family, text, vector.len())) > 0.9999
}

/// The same of an answer's `embedding`.
#[track_caller]
pub fn assert_right(answer: &Value, family: &str, text: &str) {
    assert!(
        is_right(&floats(&answer["embedding"]), family, text),
        "{text:?} has the vector of something else"
    );
}

/// The explanation of where a text of the agent would go.
pub async fn explain(running: &Running, agent: &str, body: Value) -> Value {
    running.admin().post(&format!("/api/v1/embeddings/agents/{agent}/explain"), body).await.ok()
}

/// The entry that a text for `model` would go to now.
pub async fn chosen_entry(running: &Running, model: &str) -> Option<String> {
    let explained = explain(running, "nobody", json!({"model": model})).await;
    Some(explained["chosen"].as_str()?.split_once('/')?.0.to_owned())
}

/// The candidate of this name in an explanation.
#[track_caller]
pub fn candidate<'a>(explained: &'a Value, name: &str) -> &'a Value {
    let candidates = explained["candidates"].as_array().unwrap();
    candidates.iter().find(|candidate| candidate["name"] == name).unwrap_or_else(|| panic!("{explained}"))
}

/// Configures an agent and waits until that is in force everywhere.
pub async fn configure(running: &Running, agent: &str, configuration: Value) {
    running.admin().put(&format!("/api/v1/embeddings/agents/{agent}"), configuration).await.ok();
    in_force().await;
}

/// What is configured is in force within a second, and nothing tells when.
pub async fn in_force() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

/// Every breaker closed, every failure forgotten.
pub async fn reset(running: &Running, model: &str) {
    running.admin().post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    wait_until(|| async { chosen_entry(running, model).await.is_some() }).await;
}

/// The value of the first line of the gateway's metrics that begins with `name` and holds all of `labels`.
pub async fn metric(running: &Running, name: &str, labels: &[&str]) -> Option<f64> {
    let text = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    let holds = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    text.lines().find(holds)?.rsplit(' ').next()?.parse().ok()
}

/// The vector that is stored under an id; half precision.
pub async fn stored(client: &Client, id: &Value) -> Vec<f32> {
    let id = id.as_str().unwrap();
    let row = client.get(&format!("/api/v1/embeddings/{id}?return_vector=true")).await.ok();
    floats(&row["embedding"])
}
