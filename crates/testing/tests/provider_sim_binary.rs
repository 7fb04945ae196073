//! The simulator as a process of its own.

use std::process::Stdio;

use embermesh_testing::sim::vector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn prints_its_addresses_as_one_json_line_and_serves_them() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_embermesh-provider-sim"))
        .args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--name", "east"])
        .args(["--api-key", "k", "--prefix", "/openai", "--model", "tiny=8"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
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
