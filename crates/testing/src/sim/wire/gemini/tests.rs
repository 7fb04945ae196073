//! The format by itself; a real client meets it with the providers.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::sim::{Api, DeploymentSpec, Simulator, vector_for};

const MODEL: &str = "gemini-embedding-001";

async fn start() -> Simulator {
    let spec = DeploymentSpec { api_key: Some("k".to_owned()), ..DeploymentSpec::of(Api::Gemini, "gemini") };
    Simulator::start(&[spec]).await.unwrap()
}

fn batch(sim: &Simulator, body: &Value) -> RequestBuilder {
    let url = format!("{}/v1beta/models/{MODEL}:batchEmbedContents", sim.deployments()[0].base_url());
    reqwest::Client::new().post(url).json(body)
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn request(parts: &[&str]) -> Value {
    let parts: Vec<Value> = parts.iter().map(|text| json!({ "text": text })).collect();
    json!({"model": format!("models/{MODEL}"), "content": {"parts": parts}, "taskType": "RETRIEVAL_QUERY"})
}

#[tokio::test]
async fn several_parts_of_a_content_give_one_vector() {
    let sim = start().await;
    let body = json!({"requests": [request(&["one ", "two"])]});
    let (status, answer) = answer(batch(&sim, &body).header("x-goog-api-key", "k")).await;
    assert_eq!((status, answer["embeddings"].as_array().unwrap().len()), (200, 1));
    let values: Vec<f32> = serde_json::from_value(answer["embeddings"][0]["values"].clone()).unwrap();
    assert_eq!(values, vector_for(MODEL, "query", "one two", 3072));
}

#[tokio::test]
async fn a_shortened_vector_is_not_normalised_again() {
    let sim = start().await;
    let mut short = request(&["a"]);
    short["outputDimensionality"] = json!(768);
    let body = json!({"requests": [short]});
    let (_, answer) = answer(batch(&sim, &body).header("x-goog-api-key", "k")).await;
    let values: Vec<f32> = serde_json::from_value(answer["embeddings"][0]["values"].clone()).unwrap();
    assert_eq!(values, vector_for(MODEL, "query", "a", 3072)[..768]);
}

#[tokio::test]
async fn what_is_not_documented_is_refused() {
    let sim = start().await;
    let with = |field: &str, value: Value| {
        let mut changed = request(&["a"]);
        changed[field] = value;
        json!({"requests": [changed]})
    };
    for (body, says) in [
        (json!({"requests": []}), "must not be empty"),
        (json!({"requests": vec![request(&["a"]); 101]}), "at most 100 requests"),
        (json!({"requests": [request(&["a"])], "model": "models/m"}), "model"),
        (with("model", json!(MODEL)), "requests[0].model"),
        (with("model", json!("models/another")), "requests[0].model"),
        (with("task_type", json!("RETRIEVAL_QUERY")), "task_type"),
        (with("taskType", json!("search_query")), "search_query"),
        (with("title", json!("t")), "title"),
        (with("outputDimensionality", json!(3073)), "3073"),
        (with("outputDimensionality", Value::Null), "null"),
        (with("content", json!({"parts": []})), "requests[0].content"),
        (with("content", json!("a")), "a"),
        (with("content", json!({"parts": [{"text": "word ".repeat(2100)}]})), "exceeds the 2048"),
    ] {
        let (status, answer) = answer(batch(&sim, &body).header("x-goog-api-key", "k")).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{says}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_an_invalid_argument_and_a_missing_one_is_not_permitted() {
    let sim = start().await;
    let body = json!({"requests": [request(&["a"])]});
    let (status, wrong) = answer(batch(&sim, &body).header("x-goog-api-key", "another")).await;
    assert_eq!((status, &wrong["error"]["details"][0]["reason"]), (400, &json!("API_KEY_INVALID")));
    let (status, missing) = answer(batch(&sim, &body)).await;
    assert_eq!((status, &missing["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
}
