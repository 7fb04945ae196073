//! Fixes an agent's space at its first embedding. Admin decides who was first; everybody follows the winner.

use std::time::Duration;

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{PinSpaceRequest, config_client::ConfigClient};
use embermesh_subscription::Pinned;
use embermesh_transport::{CallContext, Transport};
use embermesh_types::{AgentId, TenantId};
use moka::sync::Cache;

use crate::domain::choice::Choice;

/// Remembers a fresh pin until the configuration stream brings it.
const REMEMBER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Pins {
    admin: ConfigClient<Transport>,
    fresh: Cache<(TenantId, AgentId, String), Pinned>,
}

impl Pins {
    pub fn new(admin: Transport) -> Self {
        let fresh = Cache::builder().max_capacity(100_000).time_to_live(REMEMBER).build();
        Self { admin: ConfigClient::new(admin), fresh }
    }

    /// A pin that this process has just seen made.
    pub fn fresh(&self, tenant: TenantId, agent: &AgentId, task_type: &str) -> Option<Pinned> {
        self.fresh.get(&(tenant, agent.clone(), task_type.to_owned()))
    }

    /// Pins what was chosen, unless somebody was faster; the answer is what holds.
    pub async fn pin(
        &self,
        ctx: &CallContext,
        agent: &AgentId,
        task_type: &str,
        choice: &Choice,
    ) -> Result<Pinned, Error> {
        let request = PinSpaceRequest {
            agent_id: agent.to_string(),
            task_type: task_type.to_owned(),
            space_id: choice.space.to_string(),
            model: choice.model.id.clone(),
        };
        let pin = self.admin.clone().pin_space(ctx.request(request)).await.map_err(|status| {
            let error = Error::from(status);
            if error.code != Code::Unavailable {
                return error;
            }
            Error::unavailable(format!(
                "agent {agent} has no embedding space for {task_type} yet and the control plane that fixes it is away; name a model, or try again"
            ))
        })?;
        let pin = pin.into_inner();
        let wrong = |_| Error::internal("the control plane answered a space that is none");
        let pinned = Pinned { space: pin.space_id.parse().map_err(wrong)?, model: pin.model };
        self.fresh.insert((ctx.principal.tenant, agent.clone(), task_type.to_owned()), pinned.clone());
        Ok(pinned)
    }
}
