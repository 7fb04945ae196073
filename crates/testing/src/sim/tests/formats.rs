//! What holds for every format alike.

use serde_json::{Value, json};

use super::super::{Api, DeploymentSpec, Fault, Simulator, vector_for};
use super::{asks, client, send};

async fn text_of(sim: &Simulator, path: &str, body: &Value) -> (u16, String) {
    let url = format!("{}{path}", sim.deployments()[0].origin());
    let answer = client().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn each_fault_shows_in_each_format_and_heals() {
    for (api, path, body) in asks() {
        let sim = Simulator::start(&[DeploymentSpec::of(api, "one")]).await.unwrap();
        let one = &sim.deployments()[0];
        let healthy = text_of(&sim, path, &body).await;
        assert_eq!(healthy.0, 200, "{api:?} {}", healthy.1);
        for fault in [
            Fault::WrongCount,
            Fault::WrongDims,
            Fault::NotANumber,
            Fault::ZeroVector,
            Fault::TruncatedJson,
            Fault::ErrorWithStatus200,
        ] {
            one.inject([fault.clone().times(1)]);
            let (status, text) = text_of(&sim, path, &body).await;
            assert_eq!(status, 200, "{api:?} {fault:?}");
            assert_ne!(text, healthy.1, "{api:?} {fault:?}");
            let parsed = serde_json::from_str::<Value>(&text);
            let is_json = !matches!(fault, Fault::NotANumber | Fault::TruncatedJson);
            assert_eq!(parsed.is_ok(), is_json, "{api:?} {fault:?} {text}");
            assert_eq!(text_of(&sim, path, &body).await, healthy, "{api:?} after {fault:?}");
        }
        for status in [401, 403, 404, 408, 429, 500, 502, 503, 529] {
            one.inject([Fault::status(status).times(1)]);
            let (answered, text) = text_of(&sim, path, &body).await;
            assert_eq!(answered, status, "{api:?}");
            assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{api:?} {text}");
        }
        assert_eq!(
            sim.calls().iter().filter(|call| call.tokens == 2 && call.texts == ["some text"]).count(),
            1 + 12 + 9
        );
    }
}

#[tokio::test]
async fn one_family_has_equal_vectors_over_two_apis() {
    let text = "the same text";
    for (api, path, body, vector, family, dims) in [
        (
            Api::Cohere,
            "/v2/embed",
            json!({"model": "embed-english-v3.0", "texts": [text], "input_type": "search_query"}),
            "/embeddings/float/0",
            "embed-english-v3.0",
            1024,
        ),
        (
            Api::Bedrock,
            "/model/cohere.embed-english-v3/invoke",
            json!({"texts": [text], "input_type": "search_query"}),
            "/embeddings/0",
            "embed-english-v3.0",
            1024,
        ),
        (
            Api::Vertex,
            "/v1/projects/p/locations/r/publishers/google/models/gemini-embedding-001:predict",
            json!({"instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"}]}),
            "/predictions/0/embeddings/values",
            "gemini-embedding-001",
            3072,
        ),
        (
            Api::Gemini,
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
            json!({"requests": [{
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "taskType": "RETRIEVAL_QUERY",
            }]}),
            "/embeddings/0/values",
            "gemini-embedding-001",
            3072,
        ),
    ] {
        let sim = Simulator::start(&[DeploymentSpec::of(api, "one")]).await.unwrap();
        let reply = send(&sim, path, &[], &body).await;
        let floats = reply.body.pointer(vector).unwrap_or_else(|| panic!("{api:?} {}", reply.body)).clone();
        let floats: Vec<f32> = serde_json::from_value(floats).unwrap();
        assert_eq!(floats, vector_for(family, "query", text, dims), "{api:?}");
    }
}
