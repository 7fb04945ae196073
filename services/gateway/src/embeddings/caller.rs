//! Who calls, and as which agent.

use embermesh_errors::{Code, Error};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, RequestId};
use tonic::Request;

use super::IdempotencyKey;
use crate::http::context;

/// The circumstances of a public call, as the edge has established them.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who asks.
    pub context: CallContext,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<RequestId>,
}

impl Caller {
    /// Reads what the edge has put beside the request.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        Ok(Self {
            context: context(request.extensions())?.clone(),
            idempotency_key: request.extensions().get::<IdempotencyKey>().map(|key| key.0.clone()),
        })
    }

    /// The agent of a filter. One that is given as an empty text would widen the filter to every agent.
    pub fn given_agent_filter(&self, named: Option<&str>) -> Result<Option<AgentId>, Error> {
        match named {
            Some("") => Err(Error::invalid("agent_id", "agent_id is empty, leave it out or name an agent")),
            named => self.agent_filter(named.unwrap_or_default()),
        }
    }

    /// The agent that a call acts as: the one named, else the key's own, else `default`. Empty is not named.
    pub fn agent(&self, named: &str) -> Result<AgentId, Error> {
        Ok(self.agent_filter(named)?.unwrap_or_default())
    }

    /// The agent whose rows a call may see: the one named, else the key's own, else every agent of the tenant.
    pub fn agent_filter(&self, named: &str) -> Result<Option<AgentId>, Error> {
        let principal = &self.context.principal;
        if named.is_empty() {
            return Ok(principal.agent.clone());
        }
        let agent: AgentId = named.parse().map_err(|error| Error::invalid("agent_id", format!("{error}")))?;
        if !principal.may_act_as(&agent) {
            return Err(Error::new(
                Code::Forbidden,
                "the key belongs to another agent, leave `agent_id` out or use its own key",
            )
            .with_param("agent_id"));
        }
        Ok(Some(agent))
    }
}
