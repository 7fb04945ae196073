//! `Agents`.

use embermesh_auth::Scope;
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    Agent, AgentInput, AgentModels, DeleteAgentRequest, DeleteAgentResponse, GetAgentModelsRequest,
    GetAgentRequest, ListAgentsRequest, ListAgentsResponse, agents_server::Agents,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use super::{Handler, agent_of, caller};
use crate::{
    domain::{
        agent::merge,
        agent_rules::{self, Known, named_models},
        names::check_task_type,
        page::Page,
        resolve::{DEFAULT_TASK_TYPE, resolve},
    },
    store::{agents::LIST, failed},
};

/// Whether an agent that exists is changed or refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Merge,
    Refuse,
}

impl Handler {
    async fn write_agent(
        &self,
        context: &CallContext,
        input: AgentInput,
        existing: Existing,
    ) -> Result<Response<Agent>, Error> {
        let id = agent_of(context, &input.agent_id)?;
        let change = self.0.store.change_agent(context.principal.tenant, id).await.map_err(failed)?;
        let current = change.current.as_ref();
        if existing == Existing::Refuse && current.is_some() {
            return Err(Error::new(Code::Conflict, "the agent exists already, change it with PUT")
                .with_param("agent_id"));
        }
        let held = current.map_or(0, |agent| agent.version);
        if input.version.is_some_and(|expected| expected != held) {
            let message =
                format!("the current version is {held}, read the agent again and repeat the change");
            let error = Error::new(Code::Conflict, message).with_param("version");
            return Err(error.with_detail("current_version", held));
        }
        let agent = merge(current.cloned(), input);
        let models = change.known_models(&named_models(&agent)).await.map_err(failed)?;
        agent_rules::check(&agent, &Known { models: &models, entities: &self.0.settings.pii_entities })?;
        if current == Some(&agent) {
            return Ok(Response::new(agent));
        }
        let changed = change.put(agent, &context.principal.key, self.0.clock.now()).await.map_err(failed)?;
        Ok(self.changed(changed))
    }
}

fn not_found() -> Error {
    Error::not_found("the agent has no configuration").with_param("agent_id")
}

#[tonic::async_trait]
impl Agents for Handler {
    async fn create_agent(&self, request: Request<AgentInput>) -> Result<Response<Agent>, Status> {
        let context = caller(&request, Scope::Admin)?;
        Ok(self.write_agent(&context, request.into_inner(), Existing::Refuse).await?)
    }

    async fn put_agent(&self, request: Request<AgentInput>) -> Result<Response<Agent>, Status> {
        let context = caller(&request, Scope::Admin)?;
        Ok(self.write_agent(&context, request.into_inner(), Existing::Merge).await?)
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<Agent>, Status> {
        let context = caller(&request, Scope::Read)?;
        let id = agent_of(&context, &request.get_ref().agent_id)?;
        let agent = self.0.store.agent(context.principal.tenant, &id).await.map_err(failed)?;
        Ok(Response::new(agent.ok_or_else(not_found)?))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let context = caller(&request, Scope::Read)?;
        let ListAgentsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let tenant = context.principal.tenant;
        let (agents, next_page_token) = match &context.principal.agent {
            None => self.0.store.agents(tenant, &page).await.map_err(failed)?,
            Some(own) => (self.0.store.agent(tenant, own).await.map_err(failed)?.into_iter().collect(), None),
        };
        Ok(Response::new(ListAgentsResponse { agents, next_page_token }))
    }

    async fn delete_agent(
        &self,
        request: Request<DeleteAgentRequest>,
    ) -> Result<Response<DeleteAgentResponse>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let id = agent_of(&context, &request.get_ref().agent_id)?;
        let change = self.0.store.change_agent(context.principal.tenant, id).await.map_err(failed)?;
        if change.current.is_none() {
            return Err(not_found().into());
        }
        let changed = change.delete(&context.principal.key, self.0.clock.now()).await.map_err(failed)?;
        Ok(self.changed(changed).map(|()| DeleteAgentResponse {}))
    }

    async fn get_agent_models(
        &self,
        request: Request<GetAgentModelsRequest>,
    ) -> Result<Response<AgentModels>, Status> {
        let context = caller(&request, Scope::Read)?;
        let GetAgentModelsRequest { agent_id, task_type } = request.into_inner();
        let id = agent_of(&context, &agent_id)?;
        let task_type = task_type.unwrap_or_else(|| DEFAULT_TASK_TYPE.to_owned());
        check_task_type("task_type", &task_type)?;
        let tenant = context.principal.tenant;
        // an agent needs no registration, so one without a configuration has models too
        let agent = self.0.store.agent(tenant, &id).await.map_err(failed)?;
        let pin = self.0.store.pin(tenant, &id, &task_type).await.map_err(failed)?;
        let found = resolve(agent.as_ref(), &task_type, &self.0.settings.default_models);
        let (pinned_space_id, pinned_model) = pin.map(|pin| (pin.space_id, pin.model)).unzip();
        Ok(Response::new(AgentModels {
            agent_id,
            task_type,
            primary_models: found.primary_models,
            fallback_models: found.fallback_models,
            pinned_space_id,
            pinned_model,
        }))
    }
}
