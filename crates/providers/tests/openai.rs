//! OpenAI's format against the simulator.

#[path = "harness/rig.rs"]
mod rig;

use embermesh_config::ProviderKind;
use embermesh_providers::Failure;
use embermesh_testing::sim::{DeploymentSpec, Fault};
use rig::{Rig, Row, refuses_a_wrong_key};
use serde_json::json;

const SMALL: Row = Row::of("text-embedding-3-small", 1536);

fn spec() -> DeploymentSpec {
    DeploymentSpec { api_key: Some("sk-test".to_owned()), ..DeploymentSpec::named("openai") }
}

async fn rig() -> Rig {
    Rig::start(ProviderKind::OpenAi, spec(), "", json!({"api_key": "sk-test"})).await
}

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    let rig = rig().await;
    for row in [
        SMALL,
        Row { texts: 7, ..SMALL },
        Row { texts: 2048, dimensions: 256, ..SMALL },
        Row { dimensions: 256, ..SMALL },
        Row { texts: 7, ..Row::of("text-embedding-3-large", 3072) },
        Row::of("text-embedding-ada-002", 1536),
    ] {
        let mut body = json!({"model": row.name, "input": "TEXTS", "encoding_format": "base64"});
        if row.dimensions != row.native {
            body["dimensions"] = json!(row.dimensions);
        }
        rig.serves(row, "/v1/embeddings", body.clone()).await;
        // an older compatible server, which answers floats whatever it is asked for
        rig.deployment().inject([Fault::IgnoreBase64.forever()]);
        rig.serves(row, "/v1/embeddings", body).await;
        rig.deployment().heal();
    }
}

#[tokio::test]
async fn limits_and_lengths_are_the_apis() {
    let rig = rig().await;
    rig.takes_no_more_than(Row { dimensions: 8, ..SMALL }).await;
    rig.tells_too_long(SMALL, 8200).await;
    rig.refuses_strangers(SMALL).await;
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let rig = rig().await;
    let row = Row { texts: 3, dimensions: 16, ..SMALL };
    rig.tells_faults_apart(row).await;
    rig.hears_retry_after(row).await;
    assert_eq!(rig.fails(row, Fault::QuotaUsedUp.forever()).await.failure, Failure::Exhausted);
    // by index, not by position
    rig.deployment().inject([Fault::WrongOrder.forever()]);
    let body = json!({"model": row.name, "input": "TEXTS", "encoding_format": "base64", "dimensions": 16});
    rig.serves(row, "/v1/embeddings", body).await;
}

#[tokio::test]
async fn another_key_is_refused_and_not_shown() {
    refuses_a_wrong_key(ProviderKind::OpenAi, spec(), "", json!({}), SMALL).await;
}

#[tokio::test]
async fn a_compatible_server_needs_no_key() {
    let rig = Rig::start(ProviderKind::OpenAi, DeploymentSpec::named("own"), "/", json!({})).await;
    let body = json!({"model": SMALL.name, "input": "TEXTS", "encoding_format": "base64"});
    rig.serves(SMALL, "/v1/embeddings", body).await;
}
