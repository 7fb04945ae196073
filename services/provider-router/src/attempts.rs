//! Carries a batch to an answer: the one loop that retries and fails over.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_providers::{BatchLimits, Failure, ProviderError};
use embermesh_resilience::RetryBudget;
use embermesh_types::{Clock, TenantId};
use moka::sync::Cache as Moka;
use rand::RngExt;

use crate::{
    admission::{Admission, NotNow, Tried, too_late},
    attempt::Ended,
    batch::{Batch, Load},
    books::Books,
    deployment::Deployment,
    deployments::Deployments,
    metrics::RouterMetrics,
    proofs::Proofs,
    tiers::Tiers,
    tokenizers::Tokenizers,
};

/// Calls for one batch, over all deployments.
const MAX_ATTEMPTS: u32 = 3;
/// Longest wait between two calls for one batch.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Tokens of a full retry budget, as in AWS' SDKs: a hundred retries at once, a fifth of the successes for ever.
const RETRY_CAPACITY: u32 = 500;

/// What calls need beside their batch.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub books: Books,
    pub tiers: Tiers,
    pub tokenizers: Tokenizers,
    pub metrics: RouterMetrics,
    pub clock: Clock,
    pub deployments: Arc<Deployments>,
    pub proofs: Arc<Proofs>,
    pub tasks: Tasks,
    /// Moves on with every call, so that equals take turns.
    pub turn: AtomicUsize,
    /// By tenant and provider kind: one tenant's trouble does not use up another's retries.
    pub retries: Moka<(TenantId, &'static str), Arc<RetryBudget>>,
}

/// The budgets of [`Attempts::retries`].
pub(crate) fn retry_budgets() -> Moka<(TenantId, &'static str), Arc<RetryBudget>> {
    Moka::builder().max_capacity(10_000).time_to_idle(Duration::from_secs(3600)).build()
}

/// What a failure says about the next call for the same batch.
struct Sequel {
    /// The deployment will not do for this batch.
    out: bool,
    /// Of the retry budget.
    cost: u32,
}

/// Every failure that another call may mend.
const fn sequel(failure: Failure) -> Sequel {
    match failure {
        Failure::TimedOut | Failure::Broken => Sequel { out: false, cost: 10 },
        Failure::Unreachable
        | Failure::Server
        | Failure::Intermediary
        | Failure::BadAnswer
        | Failure::Throttled
        | Failure::Local => Sequel { out: false, cost: 5 },
        Failure::Exhausted | Failure::Unauthorized | Failure::NotHere => Sequel { out: true, cost: 0 },
        Failure::Abandoned => Sequel { out: false, cost: 0 },
        Failure::Refused | Failure::TooLong => Sequel { out: true, cost: 0 },
    }
}

impl Attempts {
    /// The retries that a tenant has left at a kind of provider.
    pub fn retry_budget(&self, tenant: TenantId, kind: &'static str) -> Arc<RetryBudget> {
        self.retries.get_with((tenant, kind), || Arc::new(RetryBudget::new(RETRY_CAPACITY)))
    }

    /// Has `batch` answered, by the deployment that it was admitted to or by another of its space. Everybody who waits for a text of
    /// it gets a vector or an error.
    pub async fn carry(self: &Arc<Self>, batch: Batch, admission: Admission) {
        self.carry_on(batch, admission, Tried::default(), 0).await;
    }

    async fn carry_on(
        self: &Arc<Self>,
        mut batch: Batch,
        mut admission: Admission,
        mut tried: Tried,
        mut made: u32,
    ) {
        let most =
            batch.order.terms.max_retries.map_or(MAX_ATTEMPTS, |n| n.saturating_add(1).min(MAX_ATTEMPTS));
        let tenant = batch.order.tenant;
        loop {
            let deployment = Arc::clone(&admission.deployment);
            if let Some(from) = tried.last.as_ref().filter(|from| **from != deployment.name) {
                self.metrics.failovers.with_label_values(&[&**from, &*deployment.name]).inc();
            }
            made += 1;
            let kind = deployment.account.kind.as_str();
            let error = match self.attempt(batch, admission).await {
                Ended::Done => return self.retry_budget(tenant, kind).deposit(),
                Ended::Landed => return,
                Ended::Failed { batch: left, error } => {
                    batch = left;
                    error
                }
            };
            if error.failure.is_of_input() {
                return self.refused(batch, &deployment, error);
            }
            tracing::warn!(deployment = %deployment.name, failure = error.failure.as_str(), %error, "a provider call failed");
            let Sequel { out, cost } = sequel(error.failure);
            tried.error = Some(format!("{}: {error}", deployment.name));
            if out {
                tried.out.push(Arc::clone(&deployment.name));
            }
            let again = made < most
                && !self.tasks.is_stopping()
                && batch.is_awaited()
                && self.retry_budget(tenant, kind).withdraw(cost);
            tried.last = Some(Arc::clone(&deployment.name));
            if !again {
                // of the request that asked first: whoever joined it may have longer, and asks again
                let is_late = error.failure == Failure::Abandoned
                    || batch.deadline().is_some_and(|deadline| deadline <= Instant::now());
                let error = if is_late {
                    Error::new(Code::DeadlineExceeded, format!("the request's time was up: {error}"))
                } else {
                    exhausted(&batch.order.model.id, &error)
                };
                return batch.fail(&error);
            }
            admission = match self.readmit(&batch, &tried, made, Some(MAX_WAIT)).await {
                Ok(next) => next,
                Err(NotNow::Never(refusal)) => return batch.fail(tried.refused.as_ref().unwrap_or(&refusal)),
                Err(NotNow::Wait(wait)) => {
                    let last = exhausted(&batch.order.model.id, &error);
                    let after = last.retry_after.map_or(wait, |after| after.max(wait));
                    return batch.fail(&last.with_retry_after(after));
                }
            };
            // another provider may take less in one call
            let mut parts = batch.split(admission.limits).into_iter();
            let Some(first) = parts.next() else { return };
            batch = first;
            for part in parts {
                self.spawn(part, made);
            }
        }
    }

    /// Waits for the next deployment until the batch's deadline, but for none that is further away than `longest`.
    async fn readmit(
        self: &Arc<Self>,
        batch: &Batch,
        tried: &Tried,
        made: u32,
        longest: Option<Duration>,
    ) -> Result<Admission, NotNow> {
        let until = batch.deadline();
        while batch.is_awaited() {
            let wait = match self.admit(&batch.order, &|limits| first_call(batch, limits), tried) {
                Ok(admission) => {
                    if tried.last.as_ref() == Some(&admission.deployment.name) {
                        // full jitter before the same deployment is called again
                        let pause = rand::rng().random_range(50..=250_u64 << made.min(2));
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                    return Ok(admission);
                }
                Err(NotNow::Wait(wait)) => wait,
                Err(never) => return Err(never),
            };
            let late = until.is_some_and(|until| Instant::now() + wait > until);
            if late || longest.is_some_and(|longest| wait > longest) {
                return Err(NotNow::Wait(wait));
            }
            tokio::time::sleep(wait).await;
        }
        Err(NotNow::Never(Error::new(Code::Cancelled, "everybody who asked has gone")))
    }

    /// A call whose input was refused: what several requests shared is tried alone, of one request's texts the halves; a lone text is
    /// refused.
    fn refused(self: &Arc<Self>, mut batch: Batch, deployment: &Deployment, error: ProviderError) {
        let parts = batch.parts();
        let halved = batch.texts.len() / 2;
        let by = &deployment.name;
        let alone = if parts.len() > 1 {
            parts.into_iter().map(|part| part.texts).collect()
        } else if halved > 0 && self.may_halve(&batch, deployment) {
            vec![(0..halved).collect(), (halved..batch.texts.len()).collect()]
        } else {
            let error = input_refused(&batch.order.model.id, by, &error);
            return batch.fail(&error);
        };
        tracing::info!(deployment = %by, into = alone.len(), "a refused call is tried again in parts");
        // from the end, so that positions stay right
        for texts in alone.iter().rev() {
            let alone = batch.split_off(texts);
            self.spawn(alone, 0);
        }
    }

    /// Refused calls cost nothing but the provider's patience, which the retry budget keeps.
    fn may_halve(&self, batch: &Batch, deployment: &Deployment) -> bool {
        self.retry_budget(batch.order.tenant, deployment.account.kind.as_str()).withdraw(5)
    }

    /// Carries a batch for itself, from admission on.
    pub fn spawn(self: &Arc<Self>, batch: Batch, made: u32) {
        self.spawn_after(batch, made, Tried::default());
    }

    /// Carries a batch for itself, which has met something before.
    pub fn spawn_after(self: &Arc<Self>, batch: Batch, made: u32, tried: Tried) {
        let this = Arc::clone(self);
        self.tasks.spawn("provider call", async move {
            match this.readmit(&batch, &tried, made, None).await {
                Ok(admission) => Box::pin(this.carry_on(batch, admission, tried, made)).await,
                Err(NotNow::Never(error)) => batch.fail(tried.refused.as_ref().unwrap_or(&error)),
                Err(NotNow::Wait(wait)) => {
                    let error = too_late(&batch.order, wait);
                    batch.fail(&error);
                }
            }
        });
    }
}

/// Tokens of the first call that `batch` makes within `limits`.
fn first_call(batch: &Batch, limits: BatchLimits) -> u64 {
    let mut load = Load::default();
    for text in &batch.texts {
        if !load.takes(text, limits) {
            break;
        }
        load.add(text);
    }
    load.tokens
}

fn input_refused(model: &str, by: &str, error: &ProviderError) -> Error {
    if error.failure == Failure::TooLong {
        let message = format!("a text is longer than {model} takes, says {by}; shorten or split it");
        return Error::new(Code::InputTooLong, message).with_param("input");
    }
    Error::invalid("input", format!("{by} refuses the input: {error}"))
}

fn exhausted(model: &str, last: &ProviderError) -> Error {
    let after = last.retry_after.unwrap_or(Duration::from_secs(5)).max(Duration::from_secs(1));
    let code = match last.failure {
        Failure::Throttled => Code::RateLimited,
        _ => Code::Unavailable,
    };
    Error::new(code, format!("no provider of {model} can answer now: {last}")).with_retry_after(after)
}
