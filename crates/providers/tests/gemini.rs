//! The Gemini API's format against the simulator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "harness/google.rs"]
mod google;

use std::{sync::Arc, time::Duration};

use embermesh_config::ProviderKind;
use embermesh_providers::{
    Billing, Connector, Failure, InputType, Provider, ProviderCall, ProviderError, verify,
};
use embermesh_testing::sim::{Api, DeploymentSpec, Fault, Simulator};
use google::{PATIENCE, Row};
use serde_json::json;

const KEY: &str = "AIza-test-key";
const ONE: Row = Row::of("gemini-embedding-001", 3072);
const TWO: Row = Row { distinguishes: false, ..Row::of("gemini-embedding-2", 3072) };

struct Gemini {
    sim: Simulator,
    provider: Arc<dyn Provider>,
}

async fn gemini(key: &str, path: &str) -> Gemini {
    let spec = DeploymentSpec { api_key: Some(KEY.to_owned()), ..DeploymentSpec::of(Api::Gemini, "gemini") };
    let sim = Simulator::start(&[spec]).await.unwrap();
    let entry = json!({"api_key": key, "base_url": format!("{}{path}", sim.deployments()[0].base_url())});
    let entry = serde_json::from_value(entry).unwrap();
    let provider = Connector::new(None).unwrap().connect(ProviderKind::Gemini, &entry).unwrap();
    Gemini { sim, provider }
}

impl Gemini {
    async fn fails(&self, call: ProviderCall, fault: Fault) -> ProviderError {
        self.sim.deployments()[0].inject([fault.forever()]);
        let answer = self.provider.embed(call).await;
        self.sim.deployments()[0].heal();
        answer.unwrap_err()
    }
}

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    for path in ["", "/", "/v1beta"] {
        let gemini = gemini(KEY, path).await;
        for row in [
            ONE,
            Row { texts: 7, ..ONE },
            Row { texts: 100, dimensions: 768, ..ONE },
            Row { input_type: InputType::Query, ..ONE },
            Row { input_type: InputType::Query, dimensions: 1536, texts: 7, ..ONE },
            TWO,
            Row { texts: 7, dimensions: 256, ..TWO },
        ] {
            let call = row.call();
            let attempt = call.attempt.to_string();
            assert_eq!(gemini.provider.limits(&call.model).texts, 100);
            let answer = gemini.provider.embed(call).await.unwrap_or_else(|e| panic!("{row:?}: {e}"));
            assert_eq!(answer.vectors, row.vectors(), "{row:?}");
            verify::check(&answer.vectors, row.texts, row.dimensions).unwrap();
            // the older model reports no usage
            assert_eq!(answer.usage.tokens, (row.model == TWO.model).then(|| row.tokens()), "{row:?}");
            assert_eq!(answer.usage.characters, None);

            let seen = gemini.sim.calls().pop().unwrap();
            assert_eq!(seen.path, format!("/v1beta/models/{}:batchEmbedContents", row.model));
            assert_eq!((seen.method.as_str(), seen.query, seen.attempt), ("POST", None, Some(attempt)));
            assert_eq!(seen.headers["x-goog-api-key"], "…");
            let request = |text: &Arc<str>| {
                let model = format!("models/{}", row.model);
                let mut request = json!({"model": model, "content": {"parts": [{"text": text}]}});
                if row.distinguishes {
                    request["taskType"] = json!(row.task_type());
                }
                if row.dimensions != row.native {
                    request["outputDimensionality"] = json!(row.dimensions);
                }
                request
            };
            let requests: Vec<_> = row.texts().iter().map(request).collect();
            assert_eq!(seen.body, Some(json!({ "requests": requests })), "{row:?}");
        }
    }
}

#[tokio::test]
async fn the_limit_is_the_apis() {
    let gemini = gemini(KEY, "").await;
    let error = gemini.provider.embed(Row { texts: 101, ..ONE }.call()).await.unwrap_err();
    assert_eq!(error.failure, Failure::Refused);
}

#[tokio::test]
async fn a_text_beyond_the_models_length_is_told_apart() {
    let gemini = gemini(KEY, "").await;
    let call = ProviderCall { texts: vec!["fine".into(), "hello ".repeat(2100).into()], ..ONE.call() };
    let error = gemini.provider.embed(call).await.unwrap_err();
    assert_eq!((error.failure, error.failure.billing()), (Failure::TooLong, Billing::NotBilled));
    assert!(!error.to_string().contains("hello"), "{error}");
}

#[tokio::test]
async fn a_refused_key_is_no_refused_input_and_is_not_shown() {
    let gemini = gemini("AIza-another-key", "").await;
    let error = gemini.provider.embed(ONE.call()).await.unwrap_err();
    // the API says 400 here, as to a bad input
    assert_eq!(gemini.sim.calls()[0].status, Some(400));
    assert_eq!((error.failure, error.failure.billing()), (Failure::Unauthorized, Billing::NotBilled));
    assert!(!format!("{error:?} {:?}", gemini.provider).contains("another-key"));
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let gemini = gemini(KEY, "").await;
    let row = Row { texts: 3, dimensions: 256, ..ONE };
    for (fault, failure) in [
        (Fault::status(400), Failure::Refused),
        (Fault::status(401), Failure::Unauthorized),
        (Fault::status(403), Failure::Unauthorized),
        (Fault::status(404), Failure::NotHere),
        (Fault::status(429), Failure::Throttled),
        (Fault::status(499), Failure::Intermediary),
        (Fault::status(500), Failure::Server),
        (Fault::status(503), Failure::Server),
        (Fault::status(504), Failure::Intermediary),
        (Fault::ResetBeforeRead, Failure::Broken),
        (Fault::ResetAfterRead, Failure::Broken),
        (Fault::TruncatedJson, Failure::BadAnswer),
        (Fault::ErrorWithStatus200, Failure::BadAnswer),
        (Fault::WrongCount, Failure::BadAnswer),
        (Fault::WrongIndex, Failure::BadAnswer),
        (Fault::NotANumber, Failure::BadAnswer),
    ] {
        assert_eq!(gemini.fails(row.call(), fault.clone()).await.failure, failure, "{fault:?}");
    }
    let hurried = ProviderCall { timeout: Duration::from_millis(200), ..row.call() };
    assert_eq!(gemini.fails(hurried, Fault::Hang).await.failure, Failure::TimedOut);
    let answer = gemini.provider.embed(row.call()).await.unwrap();
    assert_eq!(answer.vectors, row.vectors());
}

#[tokio::test]
async fn the_wait_and_the_quota_are_read_from_the_body() {
    let gemini = gemini(KEY, "").await;
    let refusal = |quota: &str| {
        let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "over quota", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26.5s"},
        ]});
        let body = Some(json!({ "error": error }).to_string());
        Fault::Status { status: 429, retry_after: None, body }
    };
    for (quota, failure) in [
        ("EmbedContentRequestsPerMinutePerProject", Failure::Throttled),
        ("EmbedContentRequestsPerDayPerProject", Failure::Exhausted),
    ] {
        let error = gemini.fails(ONE.call(), refusal(quota)).await;
        assert_eq!((error.failure, error.retry_after), (failure, Some(Duration::from_millis(26_500))));
    }
    assert!(gemini.provider.embed(ProviderCall { timeout: PATIENCE, ..ONE.call() }).await.is_ok());
}
