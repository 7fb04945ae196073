//! Filling and emptying the cache: admin gives the order to every router and writes it down, the store does the work.

use std::time::Duration;

use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{
        OrderCacheReply, OrderCacheRequest, StartClearRequest, StartWarmRequest, WarmModel,
        cache_jobs_client::CacheJobsClient, config_client::ConfigClient,
    },
    v1::{self, cache_server},
};
use embermesh_subscription::Subscription;
use embermesh_transport::{CallContext, Transport};
use embermesh_types::{AgentId, SpaceId, TenantId};
use tonic::{Request, Response, Status};

use crate::{authorise::require_operator, embeddings::fields, http::context};

const DEFAULT_ROWS: u32 = 1_000;
const MOST_ROWS: u32 = 100_000;
/// In an emergency vectors are served for as long as this.
const EMERGENCY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Implements `embermesh.v1.Cache`.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    /// To admin.
    pub admin: Transport,
    /// To the store.
    pub store: Transport,
    /// Tenants, catalog and settings.
    pub subscription: Subscription,
}

/// What part of the cache is meant, and by whom.
struct Part<'a> {
    context: &'a CallContext,
    /// `None`: every tenant.
    tenant: Option<TenantId>,
    agent: Option<AgentId>,
    space: Option<SpaceId>,
}

#[tonic::async_trait]
impl cache_server::Cache for Cache {
    async fn warm_cache(
        &self,
        request: Request<v1::WarmCacheRequest>,
    ) -> Result<Response<v1::JobStarted>, Status> {
        let (context, message) = (context(request.extensions())?, request.get_ref());
        let most_used = match message.by.as_deref() {
            None | Some("recent") => false,
            Some("most_used") => true,
            Some(_) => return Err(Error::invalid("by", "choose recent or most_used").into()),
        };
        let rows = message.rows_per_agent.unwrap_or(DEFAULT_ROWS);
        if !(1..=MOST_ROWS).contains(&rows) {
            let error = format!("rows_per_agent must be 1 to {MOST_ROWS}");
            return Err(Error::invalid("rows_per_agent", error).into());
        }
        let tenant = Some(self.tenant(context, message.tenant_id.as_deref())?);
        let part = part(context, tenant, message.agent_id.as_deref(), message.space_id.as_deref())?;
        let OrderCacheReply { version, cleared } = self.order(&part, "warm").await?;
        let snapshot = self.subscription.current();
        let settings = snapshot.settings();
        let ttl = match settings {
            Some(settings) if settings.emergency_caching => EMERGENCY,
            settings => settings.and_then(|settings| settings.cache_ttl).unwrap_or_default(),
        };
        let models = snapshot.models().map(|model| WarmModel {
            id: model.id.clone(),
            distinguishes_input_type: model.distinguishes_input_type,
        });
        let start = StartWarmRequest {
            tenant_id: text(part.tenant.as_ref()),
            agent_id: text(part.agent.as_ref()),
            space_id: text(part.space.as_ref()),
            most_used,
            rows_per_agent: rows,
            stamp: version,
            ttl_seconds: ttl.as_secs(),
            models: models.collect(),
            cleared,
        };
        let job_id = self.jobs().start_warm(context.request(start)).await?.into_inner().job_id;
        Ok(Response::new(v1::JobStarted { job_id }))
    }

    async fn clear_cache(
        &self,
        request: Request<v1::ClearCacheRequest>,
    ) -> Result<Response<v1::JobStarted>, Status> {
        let (context, message) = (context(request.extensions())?, request.get_ref());
        let tenant = if message.all_tenants.unwrap_or(false) {
            if message.tenant_id.is_some() || message.agent_id.is_some() {
                let error = "all_tenants goes with neither tenant_id nor agent_id";
                return Err(Error::invalid("all_tenants", error).into());
            }
            self.require_operator(context)?;
            None
        } else {
            Some(self.tenant(context, message.tenant_id.as_deref())?)
        };
        let part = part(context, tenant, message.agent_id.as_deref(), message.space_id.as_deref())?;
        let OrderCacheReply { version, .. } = self.order(&part, "clear").await?;
        let start = StartClearRequest {
            tenant_id: text(part.tenant.as_ref()),
            space_id: text(part.space.as_ref()),
            of_one_agent: part.agent.is_some(),
            number: version,
        };
        let started = self.jobs().start_clear(context.request(start)).await.map_err(|status| {
            let mut error = Error::from(status);
            error.message = format!(
                "nothing that was kept is served any more, but the entries could not be taken out of redis, ask again: {}",
                error.message
            );
            error
        })?;
        Ok(Response::new(v1::JobStarted { job_id: started.into_inner().job_id }))
    }
}

impl Cache {
    fn jobs(&self) -> CacheJobsClient<Transport> {
        CacheJobsClient::new(self.store.clone())
    }

    fn require_operator(&self, context: &CallContext) -> Result<(), Error> {
        require_operator(self.subscription.current().is_operator(context.principal.tenant))
    }

    /// The tenant that is meant: the key's own, or for the operator another one.
    fn tenant(&self, context: &CallContext, named: Option<&str>) -> Result<TenantId, Error> {
        let own = context.principal.tenant;
        let Some(named) = named else { return Ok(own) };
        let named: TenantId = named
            .parse()
            .map_err(|error: embermesh_types::IdError| Error::invalid("tenant_id", error.to_string()))?;
        if named != own {
            self.require_operator(context)?;
        }
        Ok(named)
    }

    /// Has an order written down, and given to every router.
    async fn order(&self, part: &Part<'_>, action: &str) -> Result<OrderCacheReply, Status> {
        let order = OrderCacheRequest {
            action: action.to_owned(),
            tenant_id: text(part.tenant.as_ref()),
            agent_id: text(part.agent.as_ref()),
            space_id: text(part.space.as_ref()),
        };
        let mut admin = ConfigClient::new(self.admin.clone());
        Ok(admin.order_cache(part.context.request(order)).await?.into_inner())
    }
}

fn part<'a>(
    context: &'a CallContext,
    tenant: Option<TenantId>,
    agent: Option<&str>,
    space: Option<&str>,
) -> Result<Part<'a>, Error> {
    let agent = match agent {
        None => context.principal.agent.clone(),
        Some(text) => {
            let agent = text
                .parse()
                .map_err(|error: embermesh_types::IdError| Error::invalid("agent_id", error.to_string()))?;
            Some(agent)
        }
    };
    Ok(Part { context, tenant, agent, space: space.map(fields::space).transpose()? })
}

fn text<T: ToString>(part: Option<&T>) -> String {
    part.map_or_else(String::new, ToString::to_string)
}
