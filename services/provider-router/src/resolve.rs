//! The model and space of a request.

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, Clock, TenantId};

use crate::{
    consider::best_model,
    deployments::Deployments,
    domain::{
        choice::{Choice, Wanted, choose, fallbacks, pinned},
        strategy::Strategy,
    },
    pins::Pins,
};

/// Task type of requests that name none.
const DEFAULT_TASK: &str = "general_qa";

/// Decides where an agent's vectors lie.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub subscription: Subscription,
    pub deployments: Arc<Deployments>,
    pub pins: Pins,
    pub default_models: Vec<String>,
    pub clock: Clock,
}

/// What a request says about its model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub agent: &'a AgentId,
    /// Empty: the default.
    pub task_type: &'a str,
    /// Empty: the agent's.
    pub model: &'a str,
    /// 0: what the model or the pin gives.
    pub dimensions: u32,
    pub strategy: Strategy,
}

impl Resolver {
    /// What is configured.
    ///
    /// # Errors
    /// Before anything is known: every model would be unknown then, which a client would take for an answer.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let unknown = || Error::unavailable("the router does not know its configuration yet, try again");
        self.subscription.known().ok_or_else(unknown)
    }

    /// The model and space that a request would get, without fixing anything.
    pub fn resolve(&self, ctx: &CallContext, question: Question<'_>) -> Result<Choice, Error> {
        let (tenant, agent, task_type) =
            (ctx.principal.tenant, question.agent, task_or_default(question.task_type));
        let dimensions = (question.dimensions > 0).then_some(question.dimensions);
        let model = (!question.model.is_empty()).then_some(question.model);
        let snapshot = self.snapshot()?;
        if model.is_none()
            && snapshot.pin(tenant, agent, task_type).is_none()
            && let Some(pin) = self.pins.fresh(tenant, agent, task_type)
        {
            return pinned(&pin, &snapshot, tenant, dimensions);
        }
        let wanted = Wanted { tenant, agent, task_type, model, dimensions };
        // not whether one can be called now: a short outage must not decide where an agent's vectors lie for ever
        let serves = |model: &CatalogModel| self.deployments.serve(model);
        let best = |models: &[Arc<CatalogModel>]| {
            best_model(&self.deployments, models, question.strategy, self.clock.now())
        };
        choose(&wanted, &snapshot, self.defaults(&snapshot, tenant), &serves, &best)
    }

    /// The models of a tenant's agents that prefer none: the tenant's own, else the operator's.
    pub fn defaults<'a>(&'a self, snapshot: &'a Snapshot, tenant: TenantId) -> &'a [String] {
        match snapshot.default_models(tenant) {
            [] => &self.default_models,
            own => own,
        }
    }

    /// The model and space of a request; a document of an agent without a pin pins them.
    pub async fn choose(
        &self,
        ctx: &CallContext,
        question: Question<'_>,
        pins: bool,
    ) -> Result<Choice, Error> {
        let choice = self.resolve(ctx, question)?;
        if !choice.unpinned || !pins {
            return Ok(choice);
        }
        let pin = self.pins.pin(ctx, question.agent, task_or_default(question.task_type), &choice).await?;
        let dimensions = (question.dimensions > 0).then_some(question.dimensions);
        pinned(&pin, &*self.snapshot()?, ctx.principal.tenant, dimensions)
    }

    /// What may answer instead while `choice` is down.
    pub fn fallbacks(&self, ctx: &CallContext, question: Question<'_>, choice: &Choice) -> Vec<Choice> {
        let Ok(snapshot) = self.snapshot() else { return Vec::new() };
        let agent = snapshot.agent(ctx.principal.tenant, question.agent);
        let serves = |model: &CatalogModel| self.deployments.serve(model);
        let dimensions = (question.dimensions > 0).then_some(question.dimensions);
        fallbacks(
            ctx.principal.tenant,
            choice,
            dimensions,
            agent.map(|a| &**a),
            task_or_default(question.task_type),
            &snapshot,
            &serves,
        )
    }
}

/// The task type that holds for a request.
pub(crate) fn task_or_default(task_type: &str) -> &str {
    if task_type.is_empty() { DEFAULT_TASK } else { task_type }
}
