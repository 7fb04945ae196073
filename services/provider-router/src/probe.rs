//! Calls that Embermesh makes for itself: small ones, past breakers and caches, booked to nobody's account but its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use embermesh_auth::{Principal, Scopes};
use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_providers::{BatchLimits, InputType};
use embermesh_resilience::{Breaker, BreakerSettings, Flights};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, KeyId, TenantId};

use crate::{
    admission::Admission,
    attempt::Ended,
    attempts::Attempts,
    batch::{Batch, Order, Terms},
    cache::{Key, lone_key},
    deployment::Deployment,
    domain::space::space_of,
    provider_time::ProviderTime,
    text::{Asker, Landed, Text},
    tokenizers::Tokenizers,
};

/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who pays for a probe.
pub(crate) fn for_itself(request_id: &str) -> Option<CallContext> {
    Some(CallContext {
        principal: Principal {
            tenant: TenantId::SYSTEM,
            key: AgentId::SYSTEM.parse::<KeyId>().ok()?,
            agent: None,
            scopes: Scopes::default(),
        },
        request_id: request_id.parse().ok()?,
        deadline: None,
    })
}

impl Attempts {
    /// The vectors that `deployment` gives for `texts` now, at the model's native length, whatever its breaker says. The outcome counts
    /// among what is measured of it, but not for its breaker: nobody's request depended on it.
    pub async fn ask(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        model: &Arc<CatalogModel>,
        texts: &[&str],
        ctx: CallContext,
    ) -> Result<Vec<Bytes>, Error> {
        let space = space_of(model, None)?;
        let agent =
            AgentId::SYSTEM.parse().map_err(|_| Error::internal("the system's agent has a bad name"))?;
        let deadline = Some(Instant::now() + PATIENCE);
        let asker = Arc::new(Asker {
            ctx: CallContext { deadline, ..ctx },
            agent,
            trace: None,
            at_providers: ProviderTime::default(),
        });
        let flights: Flights<Key, Landed> = Flights::new();
        let (mut waiting, mut sent) = (Vec::new(), Vec::new());
        for text in texts {
            let joined = flights.join(lone_key());
            waiting.push(joined.flight);
            let Some(lead) = joined.lead else { continue };
            sent.push(Text {
                text: Arc::from(*text),
                key: lone_key(),
                bound: Tokenizers::bound(model, text),
                tokens: Tokenizers::bound(model, text),
                asker: Arc::clone(&asker),
                keep: false,
                stamp: 0,
                lead,
            });
        }
        let tenant = asker.ctx.principal.tenant;
        let (model, input_type) = (Arc::clone(model), InputType::Document);
        let order = Arc::new(Order { tenant, model, space, input_type, terms: Terms::default() });
        let batch = Batch { order, texts: sent, exact: false };
        let limits =
            crate::batch::limits(&batch.order.model, deployment.account.provider.limits(&batch.order.model));
        let mut calls = Vec::new();
        for batch in batch.split(limits) {
            let (this, deployment) = (Arc::clone(self), Arc::clone(deployment));
            calls.push(self.tasks.spawn("probe", async move { this.ask_one(&deployment, batch).await }));
        }
        for call in calls {
            match call.await {
                Ok(Some(outcome)) => outcome?,
                _ => return Err(Error::unavailable("the router is stopping")),
            }
        }
        let mut vectors = Vec::with_capacity(waiting.len());
        for flight in waiting {
            let landed = flight.await.ok_or_else(|| Error::internal("a probe has no outcome"))?;
            vectors.push(landed.map_err(|error| Error::clone(&error))?.cached.vector);
        }
        Ok(vectors)
    }

    async fn ask_one(self: &Arc<Self>, deployment: &Arc<Deployment>, batch: Batch) -> Result<(), Error> {
        if let Some(pace) = &deployment.account.pace {
            let tokens = crate::batch::tokens(&batch.texts).0;
            pace.take(tokens, batch.deadline().unwrap_or_else(|| Instant::now() + PATIENCE)).await.map_err(
                |late| {
                    Error::unavailable("the provider's rate limit has no room for a probe")
                        .with_retry_after(late.wait)
                },
            )?;
        }
        let slot = deployment.concurrency.acquire().await;
        let (lease, now) = (PATIENCE, Instant::now());
        // breakers of its own, which nobody looks at
        let permit = || Arc::new(Breaker::new(UNSEEN, 0)).admit(now, lease);
        let (Some(permit), Some(host)) = (permit(), permit()) else {
            return Err(Error::internal("a fresh breaker is not closed"));
        };
        let limits = BatchLimits::texts(u32::MAX);
        let host = Some(host);
        let admission = Admission { deployment: Arc::clone(deployment), permit, host, slot, limits };
        match self.attempt(batch, admission).await {
            Ended::Done | Ended::Landed => Ok(()),
            Ended::Failed { batch, error } => {
                let error = Error::unavailable(error.to_string());
                batch.fail(&error);
                Err(error)
            }
        }
    }
}

const UNSEEN: BreakerSettings = BreakerSettings {
    failure_threshold: u32::MAX,
    success_threshold: 1,
    open: PATIENCE,
    window: PATIENCE,
    minimum_calls: u32::MAX,
    failure_rate: 1.0,
    minimum_failure_rate: 1.0,
    slow_call_rate: 1.0,
    slow_call: PATIENCE,
    half_open_calls: 1,
    ramp: Duration::ZERO,
};
