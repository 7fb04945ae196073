//! `Router`, thin over [`Embedder`].

use std::{sync::Arc, time::Instant};

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    DeploymentHealth, HealthReply, HealthRequest, ResolveReply, ResolveRequest, RouteReply, RouteRequest,
    router_server,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status, async_trait};

use crate::{deployment::Deployment, embed::Embedder, resolve::Question};

/// Implements `Router`.
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
        let question = Question {
            agent: &agent,
            task_type: &wanted.task_type,
            model: &wanted.model,
            dimensions: wanted.dimensions,
            strategy: self.0.profile(&ctx, &agent)?.terms.strategy,
        };
        let choice = self.0.resolver.resolve(&ctx, question)?;
        Ok(Response::new(ResolveReply {
            model: choice.model.id.clone(),
            dimensions: choice.space.dimensions(),
            space_id: choice.space.to_string(),
        }))
    }

    async fn health(&self, _request: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        let deployments =
            self.0.resolver.deployments.used().into_iter().map(|deployment| health(&deployment));
        Ok(Response::new(HealthReply { deployments: deployments.collect() }))
    }
}

fn health(deployment: &Deployment) -> DeploymentHealth {
    let now = Instant::now();
    let report = deployment.report(now);
    DeploymentHealth {
        provider: deployment.account.name.to_string(),
        deployment: deployment.name.to_string(),
        status: report.status().to_owned(),
        breaker: report.state.as_str().to_owned(),
        canary_cosine: deployment.proof.cosine(),
        drifted: deployment.proof.has_drifted(),
        availability: deployment.stats.summary(now).success_rate,
    }
}
