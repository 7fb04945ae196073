//! The call log and the control routes.

use serde_json::{Value, json};

use super::super::{Call, DeploymentSpec, Fault, Simulator};
use super::{SMALL, client, embed, one_deployment, post, texts};

#[tokio::test]
async fn every_call_is_logged_with_who_what_and_outcome() {
    let sim = Simulator::start(&[DeploymentSpec::named("a"), DeploymentSpec::named("b")]).await.unwrap();
    let client = client();
    let second = sim.deployment("b").unwrap();
    let answer = client
        .post(format!("{}/embeddings", second.base_url()))
        .header("x-embermesh-attempt", "attempt-7")
        .header("x-request-id", "request-9")
        .json(&texts(&["hello world", "x"]))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "req_0");
    assert_eq!(post(&sim, &texts(&[""])).await.unwrap().status().as_u16(), 400);

    let calls = sim.calls();
    assert_eq!(calls.len(), 2);
    let Call { deployment, method, path, attempt, request_id, model, texts, tokens, status, .. } = &calls[0];
    assert_eq!((deployment.as_str(), method.as_str(), path.as_str()), ("b", "POST", "/v1/embeddings"));
    assert_eq!((attempt.as_deref(), request_id.as_deref()), (Some("attempt-7"), Some("request-9")));
    assert_eq!((model.as_deref(), *tokens, *status), (Some(SMALL), 3, Some(200)));
    assert_eq!(texts, &["hello world", "x"]);
    assert!(calls[0].answered_ms.unwrap() >= calls[0].received_ms);
    assert_eq!((calls[1].deployment.as_str(), calls[1].status, calls[1].tokens), ("a", Some(400), 0));
}

#[tokio::test]
async fn calls_are_read_and_cleared_over_http() {
    let sim = one_deployment().await;
    embed(&sim, &json!({"model": SMALL, "input": [15339, 1917]})).await;
    let url = format!("{}/calls", sim.deployments()[0].control_url());
    let read = async || client().get(&url).send().await.unwrap().json::<Value>().await.unwrap();
    let calls: Vec<Call> = serde_json::from_value(read().await["calls"].clone()).unwrap();
    assert_eq!(calls, sim.calls());
    assert_eq!(calls[0].texts, ["hello world"], "token arrays are logged decoded");
    client().delete(&url).send().await.unwrap();
    assert_eq!(read().await, json!({"calls": []}));
    assert_eq!(sim.calls(), []);
}

#[tokio::test]
async fn faults_are_set_over_http_for_this_or_a_named_deployment() {
    let sim = Simulator::start(&[DeploymentSpec::named("a"), DeploymentSpec::named("b")]).await.unwrap();
    let url = format!("{}/faults", sim.deployments()[0].control_url());
    let client = client();
    let put = async |body: Value| client.put(&url).json(&body).send().await.unwrap().status().as_u16();

    let faults = json!([{"fault": {"kind": "status", "status": 500}, "times": 2}]);
    assert_eq!(put(json!({"faults": faults})).await, 204);
    assert_eq!(put(json!({"deployment": "b", "faults": [{"fault": {"kind": "hang"}}]})).await, 204);
    assert_eq!(sim.deployments()[0].pending_faults(), [Fault::status(500).times(2)]);
    assert_eq!(sim.deployments()[1].pending_faults(), [Fault::Hang.forever()]);

    assert_eq!(put(json!({"deployment": "c", "faults": []})).await, 404);
    assert_eq!(put(json!({"faults": [{"fault": {"kind": "explode"}}]})).await, 400);
    let shown: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown[0]["faults"][0]["times"], 2);
    assert_eq!(shown[1]["faults"][0]["fault"]["kind"], "hang");

    assert_eq!(put(json!({"faults": []})).await, 204, "no faults");
    assert_eq!(sim.deployments()[0].pending_faults(), []);
    embed(&sim, &texts(&["x"])).await;
}

#[tokio::test]
async fn control_requests_are_not_logged_and_meet_no_fault() {
    let sim = one_deployment().await;
    sim.deployments()[0].inject([Fault::ResetBeforeRead.forever()]);
    let control = sim.deployments()[0].control_url();
    assert_eq!(client().get(format!("{control}/calls")).send().await.unwrap().status().as_u16(), 200);
    assert_eq!(client().get(format!("{control}/nothing")).send().await.unwrap().status().as_u16(), 404);
    assert_eq!(sim.calls(), []);
}

#[tokio::test]
async fn requests_are_kept_as_they_were_sent() {
    let silent = DeploymentSpec { record_bodies: false, ..DeploymentSpec::named("silent") };
    let sim = Simulator::start(&[DeploymentSpec::named("a"), silent]).await.unwrap();
    let client = client();
    for deployment in sim.deployments() {
        let url = format!("{}/embeddings?a=b", deployment.base_url());
        let body = json!({"input": ["x"], "model": SMALL, "dimensions": 8});
        client.post(url).bearer_auth("sk-secret").json(&body).send().await.unwrap();
    }
    embed(&sim, &json!({"input": ["x"], "model": SMALL})).await;
    assert_eq!(post(&sim, &json!({"no": "such"})).await.unwrap().status(), 400);
    let calls = sim.calls();
    assert_eq!(calls[0].body, Some(json!({"model": SMALL, "input": ["x"], "dimensions": 8})));
    assert_eq!((calls[0].query.as_deref(), calls[0].dims), (Some("a=b"), Some(8)));
    assert_eq!(calls[0].headers["authorization"], "Bearer …");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    assert_eq!(
        (&calls[1].body, &*calls[1].texts),
        (&None, &["x".to_owned()][..]),
        "not asked to keep bodies"
    );
    assert_eq!(calls[3].body, Some(json!({"no": "such"})), "refused ones too");
}
