//! `Agents`.

use std::borrow::Cow;

use embermesh_auth::Scope;
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    Agent, AgentInput, AgentModels, DeleteAgentRequest, DeleteAgentResponse, GetAgentModelsRequest,
    GetAgentRequest, ListAgentVersionsRequest, ListAgentVersionsResponse, ListAgentsRequest,
    ListAgentsResponse, RollbackAgentRequest, agents_server::Agents,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use super::{Handler, agent_of, caller};
use crate::{
    domain::{
        agent::{changed_fields, merge},
        agent_rules::{self, Known, named_models},
        names::check_task_type,
        page::Page,
        pii_policy,
        resolve::{DEFAULT_TASK_TYPE, resolve},
    },
    store::{
        agents::{AgentChange, By, LIST, history_of},
        failed,
    },
};

/// Whether an agent that exists is changed or refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Merge,
    Refuse,
}

impl Existing {
    /// What the audit chain calls it.
    const fn action(self) -> &'static str {
        match self {
            Self::Merge => "agent.put",
            Self::Refuse => "agent.create",
        }
    }
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
        hold_to(input.version, current)?;
        let agent = merge(current.cloned(), input)?;
        self.check_agent(&change, &agent).await?;
        if current == Some(&agent) {
            return Ok(Response::new(agent));
        }
        let by = self.by(context, existing.action());
        let changed = change.put(agent, by).await.map_err(failed)?;
        Ok(self.changed(changed))
    }

    async fn roll_back(
        &self,
        context: &CallContext,
        request: RollbackAgentRequest,
    ) -> Result<Response<Agent>, Error> {
        let RollbackAgentRequest { agent_id, to_version, version } = request;
        let id = agent_of(context, &agent_id)?;
        let change = self.0.store.change_agent(context.principal.tenant, id).await.map_err(failed)?;
        let current = change.current.as_ref();
        hold_to(version, current)?;
        let earlier = change.earlier(to_version).await.map_err(failed)?;
        let earlier = earlier.ok_or_else(|| no_version(to_version, current))?;
        let to_version = earlier.version;
        let Some(agent) = earlier.agent else {
            let message = format!(
                "version {to_version} is the deletion of the agent and has no configuration, name another version"
            );
            return Err(Error::new(Code::Conflict, message).with_param("to_version"));
        };
        // the catalog and the rules may be others than they were
        self.check_agent(&change, &agent).await?;
        if let Some(current) = current
            && changed_fields(current, &agent).is_empty()
        {
            return Ok(Response::new(current.clone()));
        }
        let by = By { to_version: Some(to_version), ..self.by(context, "agent.rollback") };
        let changed = change.put(agent, by).await.map_err(failed)?;
        Ok(self.changed(changed))
    }

    async fn check_agent(&self, change: &AgentChange, agent: &Agent) -> Result<(), Error> {
        let models = change.known_models(&named_models(agent)).await.map_err(failed)?;
        let mut entities = Cow::Borrowed(&self.0.settings.pii_entities[..]);
        if agent.pii.as_ref().is_some_and(|pii| !pii.entities.is_empty()) {
            let policy = change.pii_policy().await.map_err(failed)?;
            entities = Cow::Owned(pii_policy::entities(policy.as_ref(), &entities));
        }
        agent_rules::check(agent, &Known { models: &models, entities: &entities })
    }

    fn by<'a>(&self, context: &'a CallContext, action: &'static str) -> By<'a> {
        By { key: &context.principal.key, at: self.0.clock.now(), action, to_version: None }
    }
}

/// Refuses a change that was made from another version than the current one; 0 is that of no configuration.
fn hold_to(expected: Option<i64>, current: Option<&Agent>) -> Result<(), Error> {
    let held = current.map_or(0, |agent| agent.version);
    if expected.is_none_or(|expected| expected == held) {
        return Ok(());
    }
    let message = format!("the current version is {held}, read the agent again and repeat the change");
    Err(Error::new(Code::Conflict, message).with_param("version").with_detail("current_version", held))
}

fn no_version(wanted: Option<i64>, current: Option<&Agent>) -> Error {
    match (wanted, current) {
        (Some(wanted), _) => Error::not_found(format!(
            "the agent never had a version {wanted}, its history lists those it had"
        ))
        .with_param("to_version"),
        (None, Some(current)) => {
            Error::not_found(format!("the agent had nothing before version {}", current.version))
                .with_param("to_version")
        }
        (None, None) => Error::not_found("the agent never had a configuration").with_param("agent_id"),
    }
}

fn not_found() -> Error {
    let message = "the agent has no configuration of its own, it runs on that of the agent default";
    Error::not_found(message).with_param("agent_id")
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
        let changed = change.delete(self.by(&context, "agent.delete")).await.map_err(failed)?;
        Ok(self.changed(changed).map(|()| DeleteAgentResponse {}))
    }

    async fn list_agent_versions(
        &self,
        request: Request<ListAgentVersionsRequest>,
    ) -> Result<Response<ListAgentVersionsResponse>, Status> {
        let context = caller(&request, Scope::Read)?;
        let ListAgentVersionsRequest { agent_id, page_size, page_token } = request.into_inner();
        let id = agent_of(&context, &agent_id)?;
        let page = Page::parse(&history_of(&id), page_size, page_token.as_deref())?;
        let before = match &page.after {
            None => i64::MAX,
            Some([version]) => version.parse().map_err(|_| {
                Error::invalid("page_token", "not a next_page_token of this list, begin again without one")
            })?,
        };
        let listed = self.0.store.agent_versions(context.principal.tenant, &id, before, &page).await;
        let (versions, next_page_token) = listed.map_err(failed)?;
        Ok(Response::new(ListAgentVersionsResponse { versions, next_page_token }))
    }

    async fn rollback_agent(
        &self,
        request: Request<RollbackAgentRequest>,
    ) -> Result<Response<Agent>, Status> {
        let context = caller(&request, Scope::Admin)?;
        Ok(self.roll_back(&context, request.into_inner()).await?)
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
        let agent = self.0.store.agent_or_default(tenant, &id).await.map_err(failed)?;
        let pin = self.0.store.pin(tenant, &id, &task_type).await.map_err(failed)?;
        let (own, allowed) = self.0.store.models_of_tenant(tenant).await.map_err(failed)?;
        let defaults = if own.is_empty() { &self.0.settings.default_models } else { &own };
        let found = resolve(agent.as_ref(), &task_type, defaults, &allowed);
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
