//! The router's services, thin over [`Embedder`].

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{
        DeploymentHealth, HealthReply, HealthRequest, ResolveReply, ResolveRequest, RouteReply, RouteRequest,
        router_server,
    },
    v1::{GetProvidersHealthRequest, ProviderHealth, ProvidersHealth, operations_server},
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    embed::Embedder,
    health::{Report, State},
};

/// Implements `Router` and `Operations`.
#[derive(Debug, Clone)]
pub(crate) struct Grpc(pub Arc<Embedder>);

#[async_trait]
impl router_server::Router for Grpc {
    async fn embed(&self, request: Request<RouteRequest>) -> Result<Response<RouteReply>, Status> {
        let ctx = CallContext::of(&request)?;
        Ok(Response::new(self.0.embed(ctx, request.into_inner()).await?))
    }

    async fn resolve(&self, request: Request<ResolveRequest>) -> Result<Response<ResolveReply>, Status> {
        let ctx = CallContext::of(&request)?;
        let wanted = request.into_inner();
        let agent = wanted.agent_id.parse().map_err(|e| Error::invalid("agent_id", format!("{e}")))?;
        let choice = self.0.resolve(&ctx, &agent, &wanted.task_type, &wanted.model, wanted.dimensions)?;
        Ok(Response::new(ResolveReply {
            model: choice.model.id.clone(),
            dimensions: choice.space.dimensions(),
            space_id: choice.space.to_string(),
        }))
    }

    async fn health(&self, _request: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        let now = Instant::now();
        let deployments = self.0.deployments.iter().map(|deployment| {
            let report = deployment.health.report(now);
            DeploymentHealth {
                // an entry of the configuration is a provider with one deployment
                provider: deployment.name.to_string(),
                deployment: deployment.name.to_string(),
                status: status(&report).to_owned(),
                breaker: report.state.as_str().to_owned(),
            }
        });
        Ok(Response::new(HealthReply { deployments: deployments.collect() }))
    }
}

#[async_trait]
impl operations_server::Operations for Grpc {
    async fn get_providers_health(
        &self,
        _request: Request<GetProvidersHealthRequest>,
    ) -> Result<Response<ProvidersHealth>, Status> {
        let now = Instant::now();
        let providers: BTreeMap<String, ProviderHealth> = self
            .0
            .deployments
            .iter()
            .map(|deployment| {
                let report = deployment.health.report(now);
                let health = ProviderHealth {
                    name: deployment.name.to_string(),
                    status: status(&report).to_owned(),
                    circuit_breaker_state: report.state.as_str().to_owned(),
                    failure_count: report.failures,
                    latency_ms: u64::try_from(report.latency.as_millis()).unwrap_or(u64::MAX),
                    error: report.error,
                };
                (deployment.name.to_string(), health)
            })
            .collect();
        let timestamp = Some(self.0.attempts.clock.now().into());
        Ok(Response::new(ProvidersHealth { providers, timestamp }))
    }
}

fn status(report: &Report) -> &'static str {
    match (report.state, report.failures) {
        (State::Closed, 0) => "healthy",
        (State::Open, _) => "unhealthy",
        _ => "degraded",
    }
}
