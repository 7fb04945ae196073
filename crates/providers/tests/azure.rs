//! Azure OpenAI's addresses, by deployment and by its v1 API, against the simulator.

#[path = "harness/rig.rs"]
mod rig;

use embermesh_config::ProviderKind;
use embermesh_providers::{Billing, Failure};
use embermesh_testing::sim::{Api, DeploymentSpec, Fault, ModelSpec};
use rig::{Rig, Row, refuses_a_wrong_key};
use serde_json::{Value, json};

/// The deployment has a name of its own.
const SMALL: Row = Row { name: "our-small_1.0", ..Row::of("text-embedding-3-small", 1536) };
const V1: &str = "/openai/v1";

fn spec() -> DeploymentSpec {
    let mut spec = DeploymentSpec {
        api_key: Some("azure-key".to_owned()),
        ..DeploymentSpec::of(Api::AzureOpenAi, "azure")
    };
    for (name, family, dims) in [
        (SMALL.name, SMALL.family, 1536),
        ("größe/1 %", SMALL.family, 1536),
        ("large", "text-embedding-3-large", 3072),
    ] {
        spec.models.push(ModelSpec { family: family.to_owned(), ..ModelSpec::new(name, dims, true) });
    }
    spec
}

fn entry() -> Value {
    json!({"api_key": "azure-key", "api_version": "2024-10-21"})
}

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    let by_deployment = Rig::start(ProviderKind::AzureOpenAi, spec(), "", entry()).await;
    let v1 = Rig::start(ProviderKind::AzureOpenAi, spec(), V1, json!({"api_key": "azure-key"})).await;
    for row in [
        SMALL,
        Row { texts: 7, ..SMALL },
        Row { texts: 2048, dimensions: 256, ..SMALL },
        Row { dimensions: 256, ..SMALL },
        Row { texts: 7, name: "large", ..Row::of("text-embedding-3-large", 3072) },
    ] {
        let mut body = json!({"input": "TEXTS", "encoding_format": "base64"});
        if row.dimensions != row.native {
            body["dimensions"] = json!(row.dimensions);
        }
        for fault in [None, Some(Fault::IgnoreBase64.forever())] {
            by_deployment.deployment().inject(fault.clone());
            v1.deployment().inject(fault);
            let path = format!("/openai/deployments/{}/embeddings", row.name);
            by_deployment.serves(row, &path, body.clone()).await;
            let mut body = body.clone();
            body["model"] = json!(row.name);
            v1.serves(row, "/openai/v1/embeddings", body).await;
        }
    }
}

#[tokio::test]
async fn a_deployments_name_stays_one_segment_of_the_path() {
    let rig = Rig::start(ProviderKind::AzureOpenAi, spec(), "", entry()).await;
    let row = Row { name: "größe/1 %", ..SMALL };
    // nobody has such a deployment: what counts is where the request went
    let failure = rig.embed(row.call()).await.unwrap_err().failure;
    assert_eq!(failure, Failure::NotHere);
    assert_eq!(rig.last_call().path, "/openai/deployments/gr%C3%B6%C3%9Fe%2F1%20%25/embeddings");
}

#[tokio::test]
async fn limits_and_lengths_are_the_apis() {
    let rig = Rig::start(ProviderKind::AzureOpenAi, spec(), "", entry()).await;
    rig.takes_no_more_than(Row { dimensions: 8, ..SMALL }).await;
    rig.tells_too_long(SMALL, 8200).await;
    rig.refuses_strangers(SMALL).await;
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let row = Row { texts: 3, dimensions: 16, ..SMALL };
    for (path, entry) in [("", entry()), (V1, json!({"api_key": "azure-key"}))] {
        let rig = Rig::start(ProviderKind::AzureOpenAi, spec(), path, entry).await;
        rig.tells_faults_apart(row).await;
        rig.hears_retry_after(row).await;
        assert_eq!(rig.fails(row, Fault::QuotaUsedUp.forever()).await.failure, Failure::Exhausted);
        let filtered = r#"{"error":{"code":"content_filter","message":"filtered","status":400}}"#;
        let filtered = Fault::Status { status: 400, retry_after: None, body: Some(filtered.to_owned()) };
        let failure = rig.fails(row, filtered.forever()).await.failure;
        assert_eq!((failure, failure.billing()), (Failure::Refused, Billing::NotBilled));
    }
}

#[tokio::test]
async fn another_key_is_refused_and_not_shown() {
    refuses_a_wrong_key(ProviderKind::AzureOpenAi, spec(), "", entry(), SMALL).await;
    refuses_a_wrong_key(ProviderKind::AzureOpenAi, spec(), V1, json!({}), SMALL).await;
}
