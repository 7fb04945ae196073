//! `Operations`: what an operator looks at and turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{OrderBreakersRequest, config_client::ConfigClient},
    v1::{
        CatalogModel, CheckProviderRequest, CircuitBreakerRequest, CircuitBreakersForced,
        CircuitBreakersReset, DeploymentCheck, ExplainRequest, Explanation, GetProvidersHealthRequest,
        ListModelProvidersRequest, ListModelProvidersResponse, ModelProvider, ProviderCheck, ProviderHealth,
        ProvidersHealth, SelectModelRequest, SelectedModel, operations_server,
    },
};
use embermesh_subscription::BreakerAction;
use embermesh_transport::{CallContext, Transport};
use embermesh_types::AgentId;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    account::Account,
    deployment::{Deployment, Report},
    deployments::Refused,
    domain::choice::tiers,
    embed::Embedder,
    orders::apply,
};

/// What a health check asks for.
const CHECK_TEXT: &str = "health check";

/// A deployment and its model.
type Pair = (Arc<Deployment>, Arc<CatalogModel>);

/// Implements `Operations`.
#[derive(Debug, Clone)]
pub(crate) struct OperationsGrpc {
    pub embedder: Arc<Embedder>,
    pub admin: ConfigClient<Transport>,
}

#[async_trait]
impl operations_server::Operations for OperationsGrpc {
    async fn get_providers_health(
        &self,
        _request: Request<GetProvidersHealthRequest>,
    ) -> Result<Response<ProvidersHealth>, Status> {
        let deployments = &self.embedder.resolver.deployments;
        let (accounts, refused) = (deployments.accounts(), deployments.refused());
        let providers = accounts.iter().map(|account| (account.name.to_string(), health(account)));
        let refused = refused.iter().map(|one| (one.name.to_string(), refusal(one)));
        let providers = providers.chain(refused);
        let timestamp = Some(self.embedder.attempts.clock.now().into());
        Ok(Response::new(ProvidersHealth { providers: providers.collect(), timestamp }))
    }

    async fn check_provider(
        &self,
        request: Request<CheckProviderRequest>,
    ) -> Result<Response<ProviderCheck>, Status> {
        let ctx = self.operator(&request)?;
        let provider = request.into_inner().provider;
        let mut deployments = Vec::new();
        for account in self.accounts(&provider)? {
            for (deployment, model) in self.to_check(&account)? {
                deployments.push(self.check(&ctx, &deployment, &model).await);
            }
        }
        Ok(Response::new(ProviderCheck { provider, deployments }))
    }

    async fn reset_circuit_breaker(
        &self,
        request: Request<CircuitBreakerRequest>,
    ) -> Result<Response<CircuitBreakersReset>, Status> {
        let ctx = self.operator(&request)?;
        let reset = self.order(&ctx, request.into_inner(), BreakerAction::Reset).await?;
        Ok(Response::new(CircuitBreakersReset { reset }))
    }

    async fn force_open_circuit_breaker(
        &self,
        request: Request<CircuitBreakerRequest>,
    ) -> Result<Response<CircuitBreakersForced>, Status> {
        let ctx = self.operator(&request)?;
        let forced = self.order(&ctx, request.into_inner(), BreakerAction::ForceOpen).await?;
        Ok(Response::new(CircuitBreakersForced { forced }))
    }

    async fn force_close_circuit_breaker(
        &self,
        request: Request<CircuitBreakerRequest>,
    ) -> Result<Response<CircuitBreakersForced>, Status> {
        let ctx = self.operator(&request)?;
        let forced = self.order(&ctx, request.into_inner(), BreakerAction::ForceClosed).await?;
        Ok(Response::new(CircuitBreakersForced { forced }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<Explanation>, Status> {
        let ctx = CallContext::of(&request)?;
        Ok(Response::new(self.embedder.explain(&ctx, request.into_inner())?))
    }

    async fn select_model(
        &self,
        request: Request<SelectModelRequest>,
    ) -> Result<Response<SelectedModel>, Status> {
        let ctx = CallContext::of(&request)?;
        Ok(Response::new(self.embedder.select(&ctx, request.into_inner())?))
    }

    async fn list_model_providers(
        &self,
        request: Request<ListModelProvidersRequest>,
    ) -> Result<Response<ListModelProvidersResponse>, Status> {
        let tenant = CallContext::of(&request)?.principal.tenant;
        let snapshot = self.embedder.resolver.snapshot()?;
        let usable: Vec<_> = snapshot.models().filter(|model| snapshot.may_use(tenant, &model.id)).collect();
        let accounts = self.embedder.resolver.deployments.accounts();
        let providers = accounts.iter().map(|account| ModelProvider {
            name: account.name.to_string(),
            kind: account.kind.as_str().to_owned(),
            models: usable.iter().filter(|m| account.serves(m)).map(|model| model.id.clone()).collect(),
        });
        Ok(Response::new(ListModelProvidersResponse { providers: providers.collect() }))
    }
}

impl OperationsGrpc {
    /// The caller, who must be of the operator's tenant as this router knows it, for what concerns everybody.
    fn operator<T>(&self, request: &Request<T>) -> Result<CallContext, Error> {
        let ctx = CallContext::of(request)?;
        if self.embedder.resolver.snapshot()?.is_operator(ctx.principal.tenant) {
            return Ok(ctx);
        }
        Err(Error::new(
            Code::Forbidden,
            "this concerns every tenant, use an admin key of the operator's tenant",
        ))
    }

    /// The entries of a name or a kind.
    fn accounts(&self, provider: &str) -> Result<Vec<Arc<Account>>, Error> {
        let deployments = &self.embedder.resolver.deployments;
        let all = deployments.accounts();
        let named =
            all.iter().filter(|account| *account.name == *provider || account.kind.as_str() == provider);
        let named: Vec<_> = named.cloned().collect();
        if named.is_empty() {
            if let Some(one) = deployments.refused().iter().find(|one| *one.name == *provider) {
                let message = format!("the provider cannot be used: {}", one.reason);
                return Err(Error::new(Code::Conflict, message).with_param("provider"));
            }
            let names: Vec<&str> = all.iter().map(|account| &*account.name).collect();
            let message = format!("no such provider is configured here, there is {}", names.join(", "));
            return Err(Error::not_found(message).with_param("provider"));
        }
        Ok(named)
    }

    /// Every deployment of an entry that may be called, used or not.
    fn every(&self, account: &Arc<Account>) -> Result<Vec<Pair>, Error> {
        let snapshot = self.embedder.resolver.snapshot()?;
        let served = snapshot.models().filter(|model| account.serves(model)).cloned();
        let deployments = &self.embedder.resolver.deployments;
        Ok(served.map(|model| (deployments.deployment(account, &model), model)).collect())
    }

    /// What a check of an entry asks: the deployments in use, or one if none is.
    fn to_check(&self, account: &Arc<Account>) -> Result<Vec<Pair>, Error> {
        let used: BTreeSet<Arc<str>> = account.used().iter().map(|d| Arc::clone(&d.name)).collect();
        let all = self.every(account)?;
        let in_use: Vec<_> = all.iter().filter(|(d, _)| used.contains(&d.name)).cloned().collect();
        Ok(if in_use.is_empty() { all.into_iter().take(1).collect() } else { in_use })
    }

    async fn check(
        &self,
        ctx: &CallContext,
        deployment: &Arc<Deployment>,
        model: &Arc<CatalogModel>,
    ) -> DeploymentCheck {
        let started = Instant::now();
        let answered = self.embedder.attempts.ask(deployment, model, &[CHECK_TEXT], ctx.clone()).await;
        DeploymentCheck {
            name: deployment.name.to_string(),
            healthy: answered.is_ok(),
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: answered.err().map(|error| error.message),
        }
    }

    /// Gives an order to every router, this one included; the names of the deployments it is about.
    async fn order(
        &self,
        ctx: &CallContext,
        request: CircuitBreakerRequest,
        action: BreakerAction,
    ) -> Result<Vec<String>, Error> {
        let everything =
            request.provider.is_none() && request.deployment.is_none() && request.agent.is_none();
        if everything && action != BreakerAction::Reset {
            let message = "name the provider, deployment or agent whose breakers to force";
            return Err(Error::invalid("deployment", message));
        }
        let deployments = self.meant(ctx, &request)?;
        if deployments.is_empty() {
            // nothing was used yet, so there is nothing to reset
            return Ok(Vec::new());
        }
        let names: Vec<String> = deployments.iter().map(|deployment| deployment.name.to_string()).collect();
        let order = OrderBreakersRequest { deployments: names.clone(), action: action.as_str().to_owned() };
        // the version that holds the order is its number
        let number = self.admin.clone().order_breakers(ctx.request(order)).await?.into_inner().version;
        deployments.iter().for_each(|deployment| apply(deployment, action, number));
        Ok(names)
    }

    /// The deployments that a request is about.
    fn meant(
        &self,
        ctx: &CallContext,
        request: &CircuitBreakerRequest,
    ) -> Result<Vec<Arc<Deployment>>, Error> {
        let resolver = &self.embedder.resolver;
        let accounts: Vec<Arc<Account>> = match &request.provider {
            Some(provider) => self.accounts(provider)?,
            None => resolver.deployments.accounts().to_vec(),
        };
        let mut meant = Vec::new();
        for account in accounts {
            meant.extend(self.every(&account)?);
        }
        if let Some(name) = &request.deployment {
            meant.retain(|(deployment, _)| *deployment.name == **name);
            if meant.is_empty() {
                let message = "no such deployment here; they are named provider/model, such as openai/text-embedding-3-small";
                return Err(Error::not_found(message).with_param("deployment"));
            }
        }
        if let Some(agent) = &request.agent {
            let models = self.models_of(ctx, agent)?;
            meant.retain(|(deployment, _)| models.iter().any(|model| **model == *deployment.model));
        }
        Ok(meant.into_iter().map(|(deployment, _)| deployment).collect())
    }

    /// The models that an agent's texts may go to.
    fn models_of(&self, ctx: &CallContext, agent: &str) -> Result<Vec<String>, Error> {
        let agent: AgentId = agent.parse().map_err(|e| Error::invalid("agent", format!("{e}")))?;
        let resolver = &self.embedder.resolver;
        let (snapshot, tenant) = (resolver.snapshot()?, ctx.principal.tenant);
        let configured = snapshot.agent(tenant, &agent).map(|agent| &**agent);
        let task_types =
            configured.iter().flat_map(|agent| &agent.model_preferences).map(|p| p.task_type.as_str());
        let mut task_types: Vec<&str> = task_types.collect();
        task_types.push("general_qa");
        let mut models = Vec::new();
        for task_type in task_types {
            models.extend(snapshot.pin(tenant, &agent, task_type).map(|pin| pin.model.clone()));
            let defaults = resolver.defaults(&snapshot, tenant);
            let ids = tiers(configured, task_type, defaults).into_iter().flat_map(|(_, ids)| ids);
            models.extend(ids.map(str::to_owned));
        }
        Ok(models)
    }
}

/// An entry that makes no provider: nothing is sent to it.
fn refusal(refused: &Refused) -> ProviderHealth {
    ProviderHealth {
        name: refused.name.to_string(),
        status: "unhealthy".to_owned(),
        circuit_breaker_state: "closed".to_owned(),
        error: Some(refused.reason.clone()),
        ..ProviderHealth::default()
    }
}

/// An entry as its deployments are: as bad as the worst of them.
fn health(account: &Account) -> ProviderHealth {
    let now = Instant::now();
    let reports: BTreeMap<Arc<str>, Report> = account
        .used()
        .iter()
        .map(|deployment| (Arc::clone(&deployment.name), deployment.report(now)))
        .collect();
    let rank = |report: &&Report| match report.status() {
        "unhealthy" => 2,
        "degraded" => 1,
        _ => 0,
    };
    let worst = reports.values().max_by_key(rank);
    let latency = reports.values().map(|report| report.latency).max().unwrap_or_default();
    ProviderHealth {
        name: account.name.to_string(),
        status: worst.map_or("healthy", |report| report.status()).to_owned(),
        circuit_breaker_state: worst.map_or("closed", |report| report.state.as_str()).to_owned(),
        failure_count: reports.values().map(|report| report.failures).max().unwrap_or_default(),
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        error: worst.and_then(|report| report.error.clone()),
    }
}
