//! What operators ask of the router: REST and gRPC reach it with what path and body say.

use axum::body::Body;
use embermesh_errors::Error;
use embermesh_proto::v1::{
    self, operations_client::OperationsClient, operations_server, operations_server::OperationsServer,
};
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use http::Method;
use serde_json::{Value, json};
use tonic::{Request, Response, Status, async_trait, transport::Channel};

use super::harness::TestEdge;
use crate::Settings;

/// A router that answers what it was asked.
struct RouterStandIn;

pub(super) fn router(metrics: &GrpcMetrics) -> Transport {
    in_process(OperationsServer::new(RouterStandIn), metrics)
}

type Answer<T> = Result<Response<T>, Status>;

fn asked(request: Request<v1::CircuitBreakerRequest>) -> Result<Vec<String>, Status> {
    CallContext::of(&request)?;
    let v1::CircuitBreakerRequest { provider, deployment, agent } = request.into_inner();
    Ok([provider, deployment, agent].into_iter().map(|name| name.unwrap_or("-".to_owned())).collect())
}

#[async_trait]
impl operations_server::Operations for RouterStandIn {
    async fn get_providers_health(
        &self,
        _: Request<v1::GetProvidersHealthRequest>,
    ) -> Answer<v1::ProvidersHealth> {
        Ok(Response::new(v1::ProvidersHealth::default()))
    }

    async fn check_provider(&self, request: Request<v1::CheckProviderRequest>) -> Answer<v1::ProviderCheck> {
        let context = CallContext::of(&request)?;
        let provider = request.into_inner().provider;
        if provider == "unknown" {
            return Err(Error::not_found("no provider has this name").with_param("provider").into());
        }
        let by = context.principal.key.as_str().to_owned();
        let deployment =
            v1::DeploymentCheck { name: format!("{provider}/m"), error: Some(by), ..Default::default() };
        Ok(Response::new(v1::ProviderCheck { provider, deployments: vec![deployment] }))
    }

    async fn reset_circuit_breaker(
        &self,
        request: Request<v1::CircuitBreakerRequest>,
    ) -> Answer<v1::CircuitBreakersReset> {
        Ok(Response::new(v1::CircuitBreakersReset { reset: asked(request)? }))
    }

    async fn force_open_circuit_breaker(
        &self,
        request: Request<v1::CircuitBreakerRequest>,
    ) -> Answer<v1::CircuitBreakersForced> {
        Ok(Response::new(v1::CircuitBreakersForced { forced: asked(request)? }))
    }

    async fn force_close_circuit_breaker(
        &self,
        request: Request<v1::CircuitBreakerRequest>,
    ) -> Answer<v1::CircuitBreakersForced> {
        Ok(Response::new(v1::CircuitBreakersForced { forced: asked(request)? }))
    }

    async fn select_model(&self, request: Request<v1::SelectModelRequest>) -> Answer<v1::SelectedModel> {
        CallContext::of(&request)?;
        let model = request.into_inner().model.unwrap_or_default();
        Ok(Response::new(v1::SelectedModel { model, estimated_cost_nano_usd: 20, ..Default::default() }))
    }

    async fn list_model_providers(
        &self,
        request: Request<v1::ListModelProvidersRequest>,
    ) -> Answer<v1::ListModelProvidersResponse> {
        CallContext::of(&request)?;
        Ok(Response::new(v1::ListModelProvidersResponse::default()))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::Explanation> {
        CallContext::of(&request)?;
        let request = request.into_inner();
        let candidate = v1::Candidate { name: "x/m".into(), cost_nano_usd: Some(20), ..Default::default() };
        Ok(Response::new(v1::Explanation {
            agent_id: request.agent_id,
            task_type: request.task_type.unwrap_or_default(),
            embedding_strategy: request.embedding_strategy.unwrap_or_default(),
            candidates: vec![candidate],
            ..Default::default()
        }))
    }
}

#[tokio::test]
async fn an_empty_body_is_an_empty_object_and_the_path_names_the_rest() {
    let edge = TestEdge::start().await;
    let empty = edge.request(Method::POST, "/api/v1/admin/providers/openai/health-check");
    let got = edge.send(empty.body(Body::empty()).unwrap()).await;
    assert_eq!((got.status.as_u16(), &got.json()["provider"]), (200, &json!("openai")), "{got:?}");
    assert_eq!(got.json()["deployments"][0]["name"], "openai/m");
    assert_eq!(got.json()["deployments"][0]["error"], edge.keys[0].id().as_str());
    let got = edge.post("/api/v1/embeddings/agents/a/explain", "{}").await;
    assert_eq!((got.status.as_u16(), &got.json()["agent_id"]), (200, &json!("a")), "{got:?}");
    let body = r#"{"task_type": "research", "embedding_strategy": "cost"}"#;
    let got = edge.post("/api/v1/embeddings/agents/a/explain", body).await;
    assert!(got.body.contains(r#""cost_usd":0.00000002"#), "{got:?}");
    let got = got.json();
    assert_eq!((&got["task_type"], &got["embedding_strategy"]), (&json!("research"), &json!("cost")));
    for (body, param) in [(r#"{"agent_id": "b"}"#, "agent_id"), (r#"{"strategy": "cost"}"#, "strategy")] {
        let got = edge.post("/api/v1/embeddings/agents/a/explain", body).await;
        assert_eq!((got.status.as_u16(), &got.error()["param"]), (400, &json!(param)), "{body}");
    }
}

#[tokio::test]
async fn breakers_are_ordered_by_provider_deployment_or_agent() {
    let edge = TestEdge::start().await;
    for (action, told) in [("reset", "reset"), ("force-open", "forced"), ("force-close", "forced")] {
        let path = format!("/api/v1/admin/circuit-breaker/{action}");
        for (body, expected) in [
            ("", json!(["-", "-", "-"])),
            ("{}", json!(["-", "-", "-"])),
            (r#"{"provider": "openai"}"#, json!(["openai", "-", "-"])),
            (r#"{"deployment": "openai/small", "agent": "a"}"#, json!(["-", "openai/small", "a"])),
        ] {
            let got = edge.post(&path, body).await;
            assert_eq!((got.status.as_u16(), &got.json()[told]), (200, &expected), "{path} {body}");
        }
    }
}

#[tokio::test]
async fn over_grpc_they_reach_the_router_too_and_need_the_same_scopes() {
    let edge = TestEdge::with(Settings::default(), &[&["read"], &["admin"]]).await;
    let channel =
        Channel::from_shared(format!("http://{}", edge.listen().await)).unwrap().connect().await.unwrap();
    let by = |key: usize, provider: &str| {
        let mut request = Request::new(v1::CheckProviderRequest { provider: provider.into() });
        request.metadata_mut().insert("x-api-key", edge.keys[key].reveal().parse().unwrap());
        request
    };
    let mut client = OperationsClient::new(channel);
    let refused = client.check_provider(by(0, "openai")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let checked = client.check_provider(by(1, "openai")).await.unwrap().into_inner();
    assert_eq!(checked.deployments[0].name, "openai/m");
    let unknown = Error::from(client.check_provider(by(1, "unknown")).await.unwrap_err());
    assert_eq!((unknown.code.as_str(), unknown.param.as_deref()), ("not_found", Some("provider")));
    let over_rest: Value = edge.get("/api/v1/embeddings/providers/health").await.json();
    assert!(over_rest.is_object(), "{over_rest}");
}
