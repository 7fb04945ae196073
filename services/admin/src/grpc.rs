//! The thin edge between the contracts and the control plane.

mod agents;
mod api_calls;
mod audit;
mod budgets;
mod catalog;
mod config;
mod key_use;
mod keys;
mod policies;
mod providers;
mod settings;
mod tenants;

use std::sync::Arc;

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::CONFIG_VERSION;
use embermesh_transport::CallContext;
use embermesh_types::AgentId;
use tonic::{Request, Response, metadata::MetadataValue};

use crate::{
    service::Shared,
    store::{
        change::{Author, Changed},
        failed,
    },
};

/// Serves every contract of the control plane.
#[derive(Debug, Clone)]
pub struct Handler(Arc<Shared>);

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The answer to a change. Its version tells the caller from when on what it reads holds the change.
    fn changed<T>(&self, Changed { made, version }: Changed<T>) -> Response<T> {
        self.0.feed.wake();
        let mut response = Response::new(made);
        response.metadata_mut().insert(CONFIG_VERSION, MetadataValue::from(version));
        response
    }

    /// The answer to a change of what gateways do not follow: it names no version, for they would wait for it.
    fn streamed<T>(&self, Changed { made, .. }: Changed<T>) -> Response<T> {
        self.0.feed.wake();
        Response::new(made)
    }

    /// The caller, who must be an administrator of the operator's tenant, as the database says. The gateway has checked it too.
    async fn operator<T: Sync>(&self, request: &Request<T>) -> Result<CallContext, Error> {
        let context = caller(request, Scope::Admin)?;
        if self.0.store.is_operator(context.principal.tenant).await.map_err(failed)? {
            return Ok(context);
        }
        Err(Error::new(
            Code::Forbidden,
            "this concerns every tenant, use an admin key of the operator's tenant",
        ))
    }

    /// Whose change it is that begins now.
    fn author<'a>(&self, principal: &'a Principal) -> Author<'a> {
        Author { tenant: principal.tenant, by: &principal.key, at: self.0.clock.now() }
    }
}

/// The caller, who must hold `scope`. The gateway has checked it; a call that came another way has not been.
fn caller<T>(request: &Request<T>, scope: Scope) -> Result<CallContext, Error> {
    let context = CallContext::of(request)?;
    if context.principal.may(scope) {
        return Ok(context);
    }
    Err(Error::new(Code::Forbidden, format!("the key needs the scope {}", scope.as_str())))
}

/// An agent that the caller may act as.
fn agent_of(context: &CallContext, text: &str) -> Result<AgentId, Error> {
    let agent: AgentId = text
        .parse()
        .map_err(|error: embermesh_types::IdError| Error::invalid("agent_id", error.to_string()))?;
    if context.principal.may_act_as(&agent) {
        return Ok(agent);
    }
    Err(Error::new(Code::Forbidden, "the key is bound to another agent").with_param("agent_id"))
}
