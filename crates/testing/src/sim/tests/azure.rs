//! Azure OpenAI's routes, credentials and errors; the bodies are OpenAI's and tested there.

use serde_json::json;

use super::super::{Api, DeploymentSpec, ModelSpec, Simulator, vector};
use super::{Reply, SMALL, floats, send};

const CLASSIC: &str = "/openai/deployments/my-small/embeddings?api-version=2024-10-21";
const V1: &str = "/openai/v1/embeddings";
const KEY: (&str, &str) = ("api-key", "azure-key");

async fn azure() -> Simulator {
    let model = ModelSpec { name: "my-small".to_owned(), ..ModelSpec::new(SMALL, 1536, true) };
    let spec = DeploymentSpec {
        api_key: Some("azure-key".to_owned()),
        models: vec![model],
        ..DeploymentSpec::of(Api::AzureOpenAi, "azure")
    };
    Simulator::start(&[spec]).await.unwrap()
}

#[tokio::test]
async fn both_routes_serve_a_deployment_and_name_the_model_behind_it() {
    let sim = azure().await;
    for (path, body) in [
        (CLASSIC, json!({"input": ["a", "b"]})),
        (CLASSIC, json!({"input": ["a", "b"], "model": "ignored"})),
        (V1, json!({"input": ["a", "b"], "model": "my-small"})),
        ("/openai/v1/embeddings?api-version=preview", json!({"input": ["a", "b"], "model": "my-small"})),
    ] {
        let Reply { status, body: answer, .. } = send(&sim, path, &[KEY], &body).await;
        assert_eq!(status, 200, "{path} {answer}");
        assert_eq!(answer["model"], SMALL);
        assert_eq!(floats(&answer, 1), vector(SMALL, "b", 1536));
        assert_eq!(answer["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    }
    assert!(sim.calls().iter().all(|call| call.model.as_deref() == Some("my-small")));
    assert_eq!(sim.calls()[0].query.as_deref(), Some("api-version=2024-10-21"));
    assert_eq!(sim.calls()[0].headers["api-key"], "…");
}

#[tokio::test]
async fn refusals_have_azures_shape() {
    let sim = azure().await;
    let body = json!({"input": "a"});
    let other = "/openai/deployments/other/embeddings?api-version=2024-10-21";
    for (path, key, status, code) in [
        (other, KEY, 404, "DeploymentNotFound"),
        (CLASSIC, ("api-key", "wrong"), 401, "401"),
        (CLASSIC, ("authorization", "Bearer wrong"), 401, "401"),
        ("/openai/deployments/my-small/embeddings", KEY, 404, "404"),
        ("/openai/deployments/my-small/embeddings?api-version=latest", KEY, 404, "404"),
        ("/v1/embeddings", KEY, 404, "404"),
    ] {
        let reply = send(&sim, path, &[key], &body).await;
        assert_eq!((reply.status, &reply.body["error"]["code"]), (status, &json!(code)), "{path}");
        assert!(reply.body["error"]["message"].is_string());
    }
    let reply = send(&sim, V1, &[KEY], &json!({"input": "a", "model": "other"})).await;
    assert_eq!((reply.status, &reply.body["error"]["code"]), (404, &json!("DeploymentNotFound")));
    for body in [
        json!({"input": "a", "input_type": "query"}),
        json!({"input": ""}),
        json!({"input": vec!["a"; 2049]}),
    ] {
        assert_eq!(send(&sim, CLASSIC, &[KEY], &body).await.status, 400, "{body}");
    }
    let bearer = ("authorization", "Bearer azure-key");
    assert_eq!(send(&sim, CLASSIC, &[bearer], &body).await.status, 200, "a bearer token is as good");
}
