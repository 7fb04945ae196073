//! The simulator as a plain HTTP client sees it.

mod azure;
mod cohere;
mod conditions;
mod control;
mod faults;
mod formats;
mod voyage;
mod wire_format;

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Api, DeploymentSpec, Simulator};

const SMALL: &str = "text-embedding-3-small";

/// A valid request for each API.
fn asks() -> [(Api, &'static str, Value); 7] {
    let text = "some text";
    [
        (Api::OpenAi, "/v1/embeddings", json!({"model": SMALL, "input": text})),
        (Api::AzureOpenAi, "/openai/v1/embeddings", json!({"model": SMALL, "input": text})),
        (Api::Bedrock, "/model/amazon.titan-embed-text-v2%3A0/invoke", json!({"inputText": text})),
        (
            Api::Vertex,
            "/v1/projects/p/locations/r/publishers/google/models/text-embedding-005:predict",
            json!({"instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"}]}),
        ),
        (
            Api::Gemini,
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
            json!({"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}}]}),
        ),
        (Api::Voyage, "/v1/embeddings", json!({"model": "voyage-3.5", "input": text})),
        (
            Api::Cohere,
            "/v2/embed",
            json!({"model": "embed-v4.0", "texts": [text], "input_type": "search_query"}),
        ),
    ]
}

/// A client without the system's certificates, whose loading would take longer than the tests.
fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

async fn one_deployment() -> Simulator {
    Simulator::start(&[DeploymentSpec::named("a")]).await.unwrap()
}

/// What a deployment answered.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

/// Posts to the first deployment, in any format.
async fn send(sim: &Simulator, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut request = client().post(format!("{}{path}", sim.deployments()[0].origin()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.json(body).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Reply { status, headers, body: answer.json().await.unwrap() }
}

async fn post(sim: &Simulator, body: &Value) -> reqwest::Result<Response> {
    let url = format!("{}/embeddings", sim.deployments()[0].base_url());
    client().post(url).json(body).send().await
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
