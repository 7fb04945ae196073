//! Voyage's format against the simulator.

#[path = "harness/rig.rs"]
mod rig;

use embermesh_config::ProviderKind;
use embermesh_providers::InputType;
use embermesh_testing::sim::{Api, DeploymentSpec, Fault};
use rig::{Rig, Row, refuses_a_wrong_key};
use serde_json::json;

const MODEL: Row = Row { input_type: Some(InputType::Document), ..Row::of("voyage-3.5", 1024) };

fn spec() -> DeploymentSpec {
    DeploymentSpec { api_key: Some("pa-test".to_owned()), ..DeploymentSpec::of(Api::Voyage, "voyage") }
}

async fn rig() -> Rig {
    Rig::start(ProviderKind::Voyage, spec(), "", json!({"api_key": "pa-test"})).await
}

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    let rig = rig().await;
    for row in [
        MODEL,
        Row { texts: 7, ..MODEL },
        Row { texts: 1000, dimensions: 256, ..MODEL },
        Row { input_type: Some(InputType::Query), ..MODEL },
        Row { dimensions: 2048, texts: 7, ..MODEL },
        Row { texts: 7, input_type: Some(InputType::Query), ..Row::of("voyage-code-3", 1024) },
        Row { input_type: Some(InputType::Document), ..Row::of("voyage-law-2", 1024) },
    ] {
        let mut body =
            json!({"model": row.name, "input": "TEXTS", "truncation": false, "encoding_format": "base64"});
        if row.dimensions != row.native {
            body["output_dimension"] = json!(row.dimensions);
        }
        if let Some(input_type) = row.input_type {
            body["input_type"] = json!(input_type.as_str());
        }
        rig.serves(row, "/v1/embeddings", body.clone()).await;
        rig.deployment().inject([Fault::IgnoreBase64.forever()]);
        rig.serves(row, "/v1/embeddings", body).await;
        rig.deployment().heal();
    }
}

#[tokio::test]
async fn nothing_is_said_of_the_input_to_a_model_that_makes_no_difference() {
    let rig = rig().await;
    rig.embed(Row { input_type: None, ..MODEL }.call()).await.unwrap();
    let body = rig.last_call().body.unwrap();
    assert_eq!(body.get("input_type"), None, "{body}");
}

#[tokio::test]
async fn limits_and_lengths_are_the_apis() {
    let rig = rig().await;
    rig.takes_no_more_than(Row { dimensions: 256, ..MODEL }).await;
    rig.tells_too_long(MODEL, 32_100).await;
    rig.refuses_strangers(MODEL).await;
    for (model, tokens) in
        [("voyage-3.5-lite", 1_000_000), ("voyage-3.5", 320_000), ("voyage-code-3", 120_000)]
    {
        assert_eq!(rig.provider.limits(&Row::of(model, 1024).call().model).tokens, tokens, "{model}");
    }
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let rig = rig().await;
    let row = Row { texts: 3, dimensions: 256, ..MODEL };
    rig.tells_faults_apart(row).await;
    rig.hears_retry_after(row).await;
}

#[tokio::test]
async fn another_key_is_refused_and_not_shown() {
    refuses_a_wrong_key(ProviderKind::Voyage, spec(), "", json!({}), MODEL).await;
}
