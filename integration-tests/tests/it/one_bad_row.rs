//! A text whose row cannot be kept fails alone; the others of its request are kept.

use embermesh_testing::sim::{DeploymentSpec, Fault, ModelSpec, Simulator};
use reqwest::Method;
use serde_json::json;

use crate::{
    running::Running,
    simulated::{QUIET, SMALL, entry, in_force, system, yaml},
};

const BATCH: &str = "/api/v1/embeddings/batch";
/// A model whose vectors have any length.
const WILD: &str = "wild";

#[tokio::test]
async fn a_vector_that_the_store_cannot_hold_is_the_failure_of_its_text() {
    let models = vec![ModelSpec::new(WILD, 64, false)];
    let spec = DeploymentSpec { models, api_key: Some("sk-test".into()), ..DeploymentSpec::named("a-one") };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let one = &simulator.deployments()[0];
    let running = Running::one(&yaml(&[entry(one, &[WILD], "")], &[QUIET])).await;
    let model = json!({
        "id": WILD, "family": "test/wild", "native_dimensions": 64, "max_input_tokens": 8191, "max_batch": 100,
        "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "normalized": false,
        "prices": [{"per_million_tokens_usd": 0.01, "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"}],
    });
    running.admin().post("/api/v1/embedding-models/catalog", model).await.ok();
    in_force().await;
    one.inject([Fault::HugeVector.times(1)]);
    let texts = ["first", "second", "third"];
    let texts =
        texts.map(|text| json!({"agent_id": "writer", "text": text, "model": WILD, "request_id": text}));
    let answer = running.agent().post(BATCH, json!(texts)).await.ok();
    assert_eq!(answer["failed"], 1, "{answer}");
    let failed = &answer["embeddings"][0]["error"];
    assert_eq!(
        (&failed["code"], &failed["param"]),
        (&json!("invalid_request"), &json!("vector")),
        "{answer}"
    );
    assert_eq!(failed["details"]["stored"], json!(false), "{answer}");
    assert!(failed["message"].as_str().unwrap().starts_with("half precision"), "{answer}");
    for at in [1, 2] {
        let id = answer["embeddings"][at]["embedding_id"].as_str().unwrap();
        running.agent().get(&format!("/api/v1/embeddings/{id}")).await.ok();
    }
}

#[tokio::test]
async fn numbers_of_metadata_are_kept_or_refused_before_anything_is_paid() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let long = "9".repeat(301);
    for (number, is_kept) in
        [("1e305", true), ("-1.5E-300", true), ("1e309", false), ("0e999999", false), (long.as_str(), false)]
    {
        // as it is spelled
        let item = |text: &str, metadata: &str| {
            format!(
                r#"{{"agent_id": "writer", "text": "{text} {number}", "model": "{SMALL}", "metadata": {metadata}}}"#
            )
        };
        let holding = format!(r#"{{"x": [{number}]}}"#);
        let batch = [item("first", &holding), item("second", &holding), item("third", "{}")].join(", ");
        simulator.clear_calls();
        let answer = running.agent().send(Method::POST, BATCH, format!("[{batch}]")).await.ok();
        let failed = if is_kept { 0 } else { 2 };
        assert_eq!(answer["failed"], failed, "{number} {answer}");
        let sent: usize = simulator.calls().iter().map(|call| call.texts.len()).sum();
        assert_eq!(sent, 3 - failed, "{number}");
        let last = answer["embeddings"][2]["embedding_id"].as_str().unwrap();
        running.agent().get(&format!("/api/v1/embeddings/{last}")).await.ok();
    }
}
