//! Calls providers for texts of one space: the one loop that retries and fails over. Every call is reserved before it leaves and
//! ended afterwards, even when the caller has gone away meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::ReserveRequest;
use embermesh_transport::CallContext;
use embermesh_types::{AttemptId, Clock, NanoUsd, TokenCount};
use rand::RngExt;

use crate::{
    asking::Asking,
    batch::{Batch, Embedded},
    books::{Books, End},
    deployment::Deployment,
    domain::verify,
    health::Permit,
    metrics::RouterMetrics,
    providers::{Billing, ProviderAnswer, ProviderCall, ProviderError, Remedy},
    tokenizers::Tokenizers,
};

/// Calls for one batch, over all deployments.
const MAX_ATTEMPTS: usize = 3;
/// Longest wait for a deployment that asked for one.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// What an attempt needs beside its batch.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub books: Books,
    pub tokenizers: Tokenizers,
    pub metrics: RouterMetrics,
    pub clock: Clock,
}

/// Money set aside for one call.
#[derive(Clone, Copy)]
struct Reserved {
    attempt: AttemptId,
    tokens: TokenCount,
    amount: NanoUsd,
}

enum Failed {
    /// Do not go on: the ledger refused, or the request is at fault.
    Final(Error),
    /// The deployment failed.
    Deployment(ProviderError),
}

impl Attempts {
    /// Embeds a batch on the first of `candidates` that can.
    pub async fn embed(
        &self,
        batch: &Batch,
        candidates: &[Arc<Deployment>],
        asking: &Asking,
    ) -> Result<Embedded, Error> {
        let mut tried: Vec<Tried> = candidates.iter().map(|_| Tried::default()).collect();
        let mut last: Option<(usize, ProviderError)> = None;
        let mut made = 0;
        let retries = batch.max_retries.and_then(|retries| usize::try_from(retries).ok());
        let most = retries.map_or(MAX_ATTEMPTS, |retries| retries.saturating_add(1).min(MAX_ATTEMPTS));
        // round after round over the deployments, so that a lone one is tried again too
        for (at, deployment) in (0..MAX_ATTEMPTS).flat_map(|_| candidates.iter().enumerate()) {
            if made == most || tried[at].out || (made > 0 && !asking.is_waiting()) {
                continue;
            }
            let again = last.as_ref().is_some_and(|(from, _)| *from == at);
            if !tried[at].wait(again, made, &batch.ctx).await {
                continue;
            }
            let Some(permit) = deployment.health.admit(Instant::now()) else { continue };
            if let Some((from, _)) = last.as_ref().filter(|_| !again) {
                self.metrics.failovers.with_label_values(&[&candidates[*from].name, &deployment.name]).inc();
            }
            made += 1;
            match self.attempt(batch, deployment, permit, asking).await {
                Ok(embedded) => return Ok(embedded),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Deployment(error)) => {
                    tracing::warn!(provider = %deployment.name, %error, "a provider call failed");
                    tried[at].out = error.remedy != Remedy::Retry;
                    tried[at].not_before = error.retry_after.map(|after| Instant::now() + after);
                    last = Some((at, error));
                }
            }
        }
        Err(exhausted(&batch.model.id, last.map(|(_, error)| error)))
    }

    async fn attempt(
        &self,
        batch: &Batch,
        deployment: &Deployment,
        permit: Permit<'_>,
        asking: &Asking,
    ) -> Result<Embedded, Failed> {
        let Reserved { attempt, tokens: bound, amount } =
            self.reserve(batch, deployment).await.map_err(Failed::Final)?;
        let settle = |end| self.books.settle(&batch.ctx, attempt, batch.agent.as_str(), end);
        let Some(timeout) = time_for(deployment, &batch.ctx) else {
            settle(End::Voided).await;
            return Err(Failed::Final(out_of_time()));
        };
        let call = ProviderCall {
            attempt,
            model: batch.model.id.as_str().into(),
            texts: batch.texts.clone(),
            dimensions: batch.space.dimensions(),
            shortened: batch.space.dimensions() != batch.model.native_dimensions,
            timeout,
        };
        let started = Instant::now();
        let answered = deployment.provider.embed(call).await.and_then(|answer| checked(answer, batch));
        let took = started.elapsed();
        let status = if answered.is_ok() { "ok" } else { "error" };
        let seconds = self.metrics.provider_seconds.with_label_values(&[&deployment.name, status]);
        seconds.observe(took.as_secs_f64());

        let inputs = u32::try_from(batch.texts.len()).unwrap_or(u32::MAX);
        match answered {
            Ok(answer) => {
                permit.succeeded(took);
                let tokens = match answer.tokens {
                    Some(tokens) => tokens,
                    None => self.count(batch).await,
                };
                let cost = batch.price.cost(tokens);
                self.metrics.tokens.with_label_values(&[&*deployment.name, &batch.model.id]).inc_by(tokens.0);
                let embedded = Embedded { answer, tokens, cost, provider: Arc::clone(&deployment.name) };
                asking.keep(&embedded);
                settle(End::Settled { tokens, amount: cost, inputs }).await;
                Ok(embedded)
            }
            Err(error) => {
                if error.unhealthy {
                    permit.failed(&error.message, Instant::now());
                }
                settle(match error.billing {
                    Billing::NotBilled => End::Voided,
                    Billing::Unknown => End::Presumed { tokens: bound, amount, inputs },
                })
                .await;
                Err(match error.remedy {
                    Remedy::GiveUp => Failed::Final(refused(&batch.model.id, &error)),
                    Remedy::Retry | Remedy::Elsewhere => Failed::Deployment(error),
                })
            }
        }
    }

    /// Sets aside what the batch can cost at most: by the lengths of its texts, which is at once, and only where a budget does not
    /// hold that much, by their tokens.
    async fn reserve(&self, batch: &Batch, deployment: &Deployment) -> Result<Reserved, Error> {
        let bound = batch.texts.iter().map(|text| Tokenizers::bound(&batch.model, text)).sum();
        let refused = match self.reserve_for(batch, deployment, bound).await {
            Err(error) if error.code == Code::BudgetExceeded => error,
            reserved => return reserved,
        };
        let counted = self.count(batch).await;
        if counted < bound { self.reserve_for(batch, deployment, counted).await } else { Err(refused) }
    }

    async fn reserve_for(
        &self,
        batch: &Batch,
        deployment: &Deployment,
        tokens: TokenCount,
    ) -> Result<Reserved, Error> {
        let reserved = Reserved { attempt: self.new_attempt(), tokens, amount: batch.price.cost(tokens) };
        let Reserved { attempt, amount, .. } = reserved;
        let reservation = reservation(batch, deployment, attempt, tokens, amount);
        if let Err(error) = self.books.reserve(&batch.ctx, reservation).await {
            if error.code.is_retryable() || error.code == Code::Internal {
                // it may stand all the same, and would be charged although nothing was sent
                self.books.void_if_reserved(&batch.ctx, attempt, batch.agent.as_str());
            }
            return Err(error);
        }
        Ok(reserved)
    }

    fn new_attempt(&self) -> AttemptId {
        let millis = self.clock.unix_millis();
        let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, nanos);
        AttemptId::new(uuid::Uuid::new_v7(stamp))
    }

    async fn count(&self, batch: &Batch) -> TokenCount {
        let mut sum = TokenCount(0);
        for text in &batch.texts {
            sum.0 += self.tokenizers.count(&batch.model, text).await.0;
        }
        sum
    }
}

fn checked(answer: ProviderAnswer, batch: &Batch) -> Result<ProviderAnswer, ProviderError> {
    match verify::check(&answer.vectors, batch.texts.len(), batch.space.dimensions()) {
        Ok(()) => Ok(answer),
        Err(bad) => {
            Err(ProviderError::failed(format!("the provider's answer is wrong: {bad}"), Billing::Unknown))
        }
    }
}

fn reservation(
    batch: &Batch,
    deployment: &Deployment,
    attempt: AttemptId,
    bound: TokenCount,
    amount: NanoUsd,
) -> ReserveRequest {
    ReserveRequest {
        attempt_id: attempt.to_string(),
        agent_id: batch.agent.to_string(),
        request_id: batch.ctx.request_id.to_string(),
        key_id: batch.ctx.principal.key.to_string(),
        provider: deployment.kind.as_str().to_owned(),
        deployment: deployment.name.to_string(),
        model: batch.model.id.clone(),
        space_id: batch.space.to_string(),
        amount_nano_usd: amount.0,
        tokens_bound: bound.0,
        price_per_million_nano_usd: batch.price.0.0,
    }
}

/// How long the next call may take; `None`: no time is left.
fn time_for(deployment: &Deployment, ctx: &CallContext) -> Option<Duration> {
    let time = ctx.time_left().map_or(deployment.timeout, |left| left.min(deployment.timeout));
    (time > Duration::from_millis(1)).then_some(time)
}

/// What is known of a candidate after its last call.
#[derive(Debug, Default)]
struct Tried {
    /// It will not do for this batch.
    out: bool,
    /// It asked to be left alone until then.
    not_before: Option<Instant>,
}

impl Tried {
    /// Waits as long as the deployment asked for, or with full jitter before it is called twice in a row; `false`: that is longer
    /// than this request can wait.
    async fn wait(&self, again: bool, made: usize, ctx: &CallContext) -> bool {
        let asked = self.not_before.map(|until| until.saturating_duration_since(Instant::now()));
        let jitter = || Duration::from_millis(rand::rng().random_range(20..=100_u64 << made.min(4)));
        let Some(wait) = asked.or_else(|| again.then(jitter)) else { return true };
        if wait > MAX_WAIT || ctx.time_left().is_some_and(|left| left < wait) {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

fn out_of_time() -> Error {
    Error::new(Code::DeadlineExceeded, "no time is left to call a provider")
}

fn refused(model: &str, error: &ProviderError) -> Error {
    Error::invalid("input", format!("{model} refuses the input: {error}"))
}

fn exhausted(model: &str, last: Option<ProviderError>) -> Error {
    let after = last.as_ref().and_then(|error| error.retry_after).unwrap_or(Duration::from_secs(5));
    let why =
        last.map_or_else(|| "every deployment is resting after failures".to_owned(), |error| error.message);
    Error::unavailable(format!("no provider of {model} can answer now: {why}")).with_retry_after(after)
}
