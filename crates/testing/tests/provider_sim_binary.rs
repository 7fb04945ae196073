//! The simulator as a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;

use embermesh_testing::sim::{vector, vector_for};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

async fn start(arguments: &[&str]) -> (Child, Value) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_embermesh-provider-sim"))
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn a_file_describes_deployments_of_several_apis_and_a_control_port() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let yaml = "control: 127.0.0.1:0
deployments:
  - {name: voyage, api: voyage, api_key: k}
  - {name: cohere, api: cohere, models: [{name: tiny, dims: 8, asymmetric: true}], conditions: {down: true}}
";
    std::fs::write(file.path(), yaml).unwrap();
    let (mut process, ready) = start(&["--config", file.path().to_str().unwrap()]).await;
    let [voyage, cohere] = [0, 1].map(|at| ready["deployments"][at].clone());
    assert_eq!((&voyage["api"], &cohere["api"]), (&json!("voyage"), &json!("cohere")));

    let client = reqwest::Client::new();
    let url = format!("{}/v2/embed", cohere["base_url"].as_str().unwrap());
    let question = json!({"model": "tiny", "texts": ["x"], "input_type": "search_query"});
    assert!(client.post(&url).json(&question).send().await.unwrap_err().is_connect());
    let control = format!("http://{}/_sim/faults", ready["control"].as_str().unwrap());
    let up = json!({"deployment": "cohere", "conditions": {}});
    assert_eq!(client.put(control).json(&up).send().await.unwrap().status().as_u16(), 204);
    let answer: Value = client.post(&url).json(&question).send().await.unwrap().json().await.unwrap();
    let floats: Vec<f32> = serde_json::from_value(answer["embeddings"]["float"][0].clone()).unwrap();
    assert_eq!(floats, vector_for("tiny", "query", "x", 8));
    process.kill().await.unwrap();
}

#[tokio::test]
async fn a_mistake_in_the_file_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "deployments: [{name: a, api: openal}]").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_embermesh-provider-sim"))
        .arg("--config")
        .arg(file.path())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("openal") && said.contains("--help"), "{said}");
}

#[tokio::test]
async fn prints_its_addresses_as_one_json_line_and_serves_them() {
    let (mut process, ready) = start(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
        "--name",
        "east",
        "--api-key",
        "k",
        "--prefix",
        "/openai",
        "--model",
        "tiny=8",
    ])
    .await;
    let client = reqwest::Client::new();
    for (index, name) in ["east", "sim-2"].into_iter().enumerate() {
        let deployment = &ready["deployments"][index];
        assert_eq!(deployment["name"], name);
        let url = format!("{}/embeddings", deployment["base_url"].as_str().unwrap());
        assert!(url.ends_with("/openai/v1/embeddings"));
        let question = json!({"model": "tiny", "input": "x"});
        let answer: Value =
            client.post(url).bearer_auth("k").json(&question).send().await.unwrap().json().await.unwrap();
        let floats: Vec<f32> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
        assert_eq!(floats, vector("tiny", "x", 8));
    }
    let calls_url = format!("{}/calls", ready["deployments"][0]["control_url"].as_str().unwrap());
    let calls: Value = client.get(calls_url).send().await.unwrap().json().await.unwrap();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 2);
    process.kill().await.unwrap();
}
