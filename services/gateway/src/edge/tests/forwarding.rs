use axum::body::Body;
use embermesh_proto::v1::{
    AgentInput, GetAgentRequest, agents_client::AgentsClient, keys_client::KeysClient,
};
use http::Method;
use serde_json::{Value, json};
use tonic::{Code, Request, transport::Channel};

use super::harness::{TENANT, TestEdge, told};

fn forged<T>(edge: &TestEdge, message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in [
        ("x-api-key", edge.keys[0].reveal()),
        ("x-embermesh-tenant", "0192d5a0-0000-7000-8000-00000000dead"),
        ("x-embermesh-key", "victim"),
        ("x-embermesh-agent", "victim"),
        ("x-embermesh-scopes", "admin"),
        ("x-embermesh-later", "1"),
        ("x-request-id", "r-1"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    request
}

fn check(edge: &TestEdge, told: &Value, scopes: &str) {
    assert_eq!(told["tenant"], TENANT);
    assert_eq!(told["key"], edge.keys[0].id().as_str());
    assert_eq!((&told["agent"], &told["scopes"]), (&json!(null), &json!(scopes)));
    assert_eq!((&told["request_id"], &told["timeout"]), (&json!("r-1"), &json!(true)));
    for absent in ["x-api-key", "authorization", "x-embermesh-later", "x-embermesh-agent"] {
        assert!(!told["headers"].as_array().unwrap().contains(&json!(absent)), "{absent} in {told}");
    }
}

#[tokio::test]
async fn a_grpc_call_is_passed_on_with_the_identity_of_its_key_alone() {
    let edge = TestEdge::with(crate::Settings::default(), &[&["read"]]).await;
    let channel =
        Channel::from_shared(format!("http://{}", edge.listen().await)).unwrap().connect().await.unwrap();
    let mut agents = AgentsClient::new(channel);
    let answer = agents.get_agent(forged(&edge, GetAgentRequest { agent_id: "a".into() })).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "r-1");
    let agent = answer.into_inner();
    assert_eq!(agent.agent_id, "a");
    check(&edge, &told(&agent.metadata), "read");
    let refused = agents.put_agent(forged(&edge, AgentInput::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_rest_call_is_passed_on_with_the_identity_of_its_key_alone() {
    let edge = TestEdge::with(crate::Settings::default(), &[&["read"]]).await;
    let request = edge.request(Method::GET, "/api/v1/embeddings/agents/a").header("x-request-id", "r-1");
    let request = request.header("x-embermesh-tenant", "0192d5a0-0000-7000-8000-00000000dead");
    let got = edge.send(request.header("x-embermesh-scopes", "admin").body(Body::empty()).unwrap()).await;
    check(&edge, &got.json()["metadata"], "read");
}

#[tokio::test]
async fn errors_of_a_service_reach_a_grpc_client_with_their_details() {
    let edge = TestEdge::start().await;
    let channel =
        Channel::from_shared(format!("http://{}", edge.listen().await)).unwrap().connect().await.unwrap();
    let input = AgentInput { agent_id: "taken".into(), ..Default::default() };
    let status = AgentsClient::new(channel.clone()).create_agent(forged(&edge, input)).await.unwrap_err();
    let error = embermesh_errors::Error::from(status);
    assert_eq!((error.code, error.details["version"].as_u64()), (embermesh_errors::Code::Conflict, Some(3)));
    // the stand-in serves agents alone
    let listed = KeysClient::new(channel).list_keys(forged(&edge, Default::default())).await.unwrap_err();
    assert_eq!(listed.code(), Code::Unimplemented);
    assert!(edge.metrics.render().contains(
        r#"http_requests_total{method="POST",path="/embermesh.v1.Agents/CreateAgent",status="409"} 1"#
    ));
}
