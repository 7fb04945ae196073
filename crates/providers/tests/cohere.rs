//! Cohere's format against the simulator.

#[path = "harness/rig.rs"]
mod rig;

use embermesh_config::ProviderKind;
use embermesh_providers::{Failure, InputType};
use embermesh_testing::sim::{Api, DeploymentSpec, Fault};
use rig::{Rig, Row, refuses_a_wrong_key};
use serde_json::json;

const V4: Row = Row { input_type: Some(InputType::Document), ..Row::of("embed-v4.0", 1536) };
const ENGLISH: Row = Row { input_type: Some(InputType::Query), ..Row::of("embed-english-v3.0", 1024) };

fn spec() -> DeploymentSpec {
    DeploymentSpec { api_key: Some("co-test".to_owned()), ..DeploymentSpec::of(Api::Cohere, "cohere") }
}

async fn rig(path: &str) -> Rig {
    Rig::start(ProviderKind::Cohere, spec(), path, json!({"api_key": "co-test"})).await
}

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    // the address with and without its version
    for path in ["", "/v2", "/v2/"] {
        let rig = rig(path).await;
        for row in [
            V4,
            Row { texts: 7, ..V4 },
            Row { texts: 96, dimensions: 256, ..V4 },
            Row { input_type: Some(InputType::Query), dimensions: 512, ..V4 },
            ENGLISH,
            Row { texts: 7, input_type: Some(InputType::Document), ..ENGLISH },
            Row { input_type: Some(InputType::Document), ..Row::of("embed-multilingual-light-v3.0", 384) },
        ] {
            let input_type = match row.input_type {
                Some(InputType::Query) => "search_query",
                _ => "search_document",
            };
            let mut body = json!({
                "model": row.name,
                "texts": "TEXTS",
                "input_type": input_type,
                "embedding_types": ["base64"],
                "truncate": "NONE",
            });
            if row.dimensions != row.native {
                body["output_dimension"] = json!(row.dimensions);
            }
            rig.serves(row, "/v2/embed", body.clone()).await;
            rig.deployment().inject([Fault::IgnoreBase64.forever()]);
            rig.serves(row, "/v2/embed", body).await;
            rig.deployment().heal();
        }
    }
}

#[tokio::test]
async fn limits_and_lengths_are_the_apis() {
    let rig = rig("").await;
    rig.takes_no_more_than(Row { dimensions: 256, ..V4 }).await;
    rig.tells_too_long(ENGLISH, 520).await;
    rig.refuses_strangers(V4).await;
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let rig = rig("").await;
    let row = Row { texts: 3, dimensions: 256, ..V4 };
    rig.tells_faults_apart(row).await;
    rig.hears_retry_after(row).await;
    assert_eq!(rig.fails(row, Fault::QuotaUsedUp.forever()).await.failure, Failure::Exhausted);
    let trial = r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#;
    let trial = Fault::Status { status: 429, retry_after: None, body: Some(trial.to_owned()) };
    assert_eq!(rig.fails(row, trial.forever()).await.failure, Failure::Exhausted);
}

#[tokio::test]
async fn another_key_is_refused_and_not_shown() {
    refuses_a_wrong_key(ProviderKind::Cohere, spec(), "", json!({}), V4).await;
}
