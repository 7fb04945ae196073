//! The simulator as a plain HTTP client sees it.

mod control;
mod faults;
mod wire_format;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{DeploymentSpec, Simulator};

const SMALL: &str = "text-embedding-3-small";

async fn one_deployment() -> Simulator {
    Simulator::start(&[DeploymentSpec::named("a")]).await.unwrap()
}

async fn post(sim: &Simulator, body: &Value) -> reqwest::Result<Response> {
    let url = format!("{}/embeddings", sim.deployments()[0].base_url());
    reqwest::Client::new().post(url).json(body).send().await
}

async fn embed(sim: &Simulator, body: &Value) -> Value {
    let answer = post(sim, body).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

async fn refusal(sim: &Simulator, body: &Value) -> (u16, Value) {
    let answer = post(sim, body).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let error = body["error"].as_object().unwrap();
    let mut fields: Vec<&str> = error.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "message", "param", "type"]);
    (status, body["error"].clone())
}

fn texts(input: &[&str]) -> Value {
    json!({"model": SMALL, "input": input})
}

fn floats(answer: &Value, position: usize) -> Vec<f32> {
    serde_json::from_value(answer["data"][position]["embedding"].clone()).unwrap()
}

fn unpack(answer: &Value, position: usize) -> Vec<f32> {
    let packed = answer["data"][position]["embedding"].as_str().unwrap();
    let bytes = base64_simd::STANDARD.decode_to_vec(packed).unwrap();
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}
