//! One call to one deployment: money set aside, the call itself, its answer checked and shared out, the attempt ended. When everybody who
//! asked has gone, the call is given a moment more: it is paid for.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use embermesh_errors::{Code, Error};
use embermesh_proto::{internal::v1::AttemptOutcome, v1::CatalogModel};
use embermesh_providers::{Billing, Failure, ProviderAnswer, ProviderCall, ProviderError, verify};
use embermesh_resilience::Permit;
use embermesh_telemetry::{Span, within};
use embermesh_types::{AgentId, AttemptId, TenantId, TokenCount};

use crate::{
    admission::Admission,
    attempts::Attempts,
    batch::{Batch, Order},
    books::{Settlement, voided},
    cache::Cached,
    deployment::Deployment,
    domain::{
        unit_length::to_unit_length,
        usage::{Share, shares},
    },
    provider_time::UnderWay,
    reserve::{Reserved, presumed},
    text::Vector,
};

/// How long a call goes on that nobody waits for any more: it is paid, and its vectors are kept.
const GRACE: Duration = Duration::from_secs(2);
/// Whoever has waited this long without an answer has waited long enough for it to be the provider's fault.
const PATIENT: Duration = Duration::from_secs(1);
/// How often to look whether anybody still waits.
const LOOK: Duration = Duration::from_millis(100);

/// When a provider was called and had answered, by both clocks.
struct Times {
    made: SystemTime,
    called: (Instant, Instant),
}

/// How an attempt went.
pub(crate) enum Ended {
    /// Everybody has a vector.
    Done,
    /// Everybody has an answer; nothing was called.
    Landed,
    /// The call failed; these still wait.
    Failed { batch: Batch, error: ProviderError },
}

impl Attempts {
    /// Makes one call for `batch`, as a part of the request that asked first: others only go along.
    pub async fn attempt(self: &Arc<Self>, batch: Batch, admission: Admission) -> Ended {
        let trace = batch.texts.first().and_then(|text| text.asker.trace.as_ref());
        let mut span = Span::under(trace, "attempt");
        span.set("embermesh.deployment", admission.deployment.name.to_string());
        span.set("embermesh.texts", i64::try_from(batch.texts.len()).unwrap_or(i64::MAX));
        let ended = within(span.trace(), self.make(batch, admission)).await;
        if let Ended::Failed { error, .. } = &ended {
            span.fail(error.failure.as_str());
        }
        ended
    }

    async fn make(self: &Arc<Self>, batch: Batch, admission: Admission) -> Ended {
        let Admission { deployment, permit, host, slot, limits: _ } = admission;
        let Some((batch, reserved)) = self.reserve(batch, &deployment).await else {
            return Ended::Landed;
        };
        if !batch.is_awaited() {
            self.void(reserved);
            batch.fail(&Error::new(Code::Cancelled, "everybody who asked has gone"));
            return Ended::Landed;
        }
        if !(permit.holds() && host.as_ref().is_none_or(Permit::holds)) {
            self.void(reserved);
            let error = ProviderError::new(Failure::Local, "its circuit breaker has opened meanwhile");
            return Ended::Failed { batch, error };
        }
        let Some(timeout) = time_for(&deployment, batch.deadline()) else {
            self.void(reserved);
            batch.fail(&Error::new(Code::DeadlineExceeded, "no time is left to call a provider"));
            return Ended::Landed;
        };
        let started = Instant::now();
        let answered = self.call(&batch, &deployment, reserved.hold.attempt, timeout).await;
        let made = self.clock.now();
        // a drift noticed from here on puts what was made until then under suspicion
        let own = batch.order.tenant == TenantId::SYSTEM;
        let answered = match deployment.proof.out().filter(|_| !own && answered.is_ok()) {
            Some(why) => Err(ProviderError::bad_answer(why)),
            None => answered,
        };
        let took = started.elapsed();
        let answered = answered.map_err(|error| impatient(error, &deployment, timeout, took));
        self.judge(&deployment, &answered, took, permit, host);
        drop(slot);
        match answered {
            Ok(answer) => {
                let called = (started, started + took);
                self.share_out(batch, &deployment, reserved, answer, Times { made, called }).await;
                Ended::Done
            }
            Err(error) => {
                let settlement = match error.failure.billing() {
                    Billing::NotBilled => voided(reserved.hold.attempt),
                    Billing::Unknown => presumed(&reserved, &batch),
                };
                // the next deployment should not wait for the ledger
                self.books.settle_later(&reserved.ctx, reserved.hold, settlement);
                Ended::Failed { batch, error }
            }
        }
    }

    /// Shows where calls may move to and from, before any has: what is not there yet has no rate when it comes.
    fn show_failovers(&self, deployment: &Deployment, model: &CatalogModel) {
        for other in self.deployments.of(model).iter().filter(|other| other.name != deployment.name) {
            for [from, to] in [[&deployment.name, &other.name], [&other.name, &deployment.name]] {
                self.metrics.failovers.with_label_values(&[&**from, &**to]);
            }
        }
    }

    /// Nothing was sent.
    fn void(&self, reserved: Reserved) {
        let settlement = voided(reserved.hold.attempt);
        self.books.settle_later(&reserved.ctx, reserved.hold, settlement);
    }

    async fn call(
        &self,
        batch: &Batch,
        deployment: &Deployment,
        attempt: AttemptId,
        timeout: Duration,
    ) -> Result<ProviderAnswer, ProviderError> {
        let Order { model, space, input_type, .. } = &*batch.order;
        let call = ProviderCall {
            attempt,
            model: Arc::clone(model),
            name: deployment.account.name_of(model).into(),
            texts: batch.texts.iter().map(|text| Arc::clone(&text.text)).collect(),
            dimensions: space.dimensions(),
            input_type: *input_type,
            timeout,
        };
        if deployment.count_call() {
            self.show_failovers(deployment, model);
        }
        let mut span = Span::calling("provider");
        span.set("embermesh.provider", deployment.account.kind.as_str());
        span.set("gen_ai.request.model", model.id.clone());
        let abandoned = async {
            let mut gone = None;
            loop {
                // somebody may come for a text that is under way
                gone = if batch.is_awaited() { None } else { gone.or_else(|| Some(Instant::now())) };
                if gone.is_some_and(|since: Instant| since.elapsed() >= GRACE) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let under_way = UnderWay::of(batch);
        let answer = tokio::select! {
            answer = within(span.trace(), deployment.account.provider.embed(call)) => answer?,
            () = abandoned => {
                return Err(ProviderError::new(Failure::Abandoned, "everybody who asked has gone"));
            }
        };
        drop(under_way);

        let wrong = |bad: verify::BadAnswer| {
            ProviderError::bad_answer(format!("the provider's answer is wrong: {bad}"))
        };
        verify::check(&answer.vectors, batch.texts.len(), space.dimensions()).map_err(wrong)?;
        if !model.normalized {
            return Ok(answer);
        }
        let vectors = answer.vectors.into_iter().map(to_unit_length).collect();
        Ok(ProviderAnswer { vectors, usage: answer.usage })
    }

    /// Gives everybody their vector, after the books and the caches have theirs.
    async fn share_out(
        &self,
        batch: Batch,
        deployment: &Deployment,
        reserved: Reserved,
        answer: ProviderAnswer,
        Times { made, called }: Times,
    ) {
        let Reserved { hold, ctx, parts, tariff, .. } = reserved;
        let weights = self.weights(&batch, parts.len() > 1).await;
        let tokens = match answer.usage.tokens {
            Some(tokens) => tokens,
            None => self.count(&batch).await,
        };
        let units = answer.usage.characters.filter(|_| tariff.by_character);
        let cost = tariff.price.cost(TokenCount(units.unwrap_or(if tariff.by_character {
            batch.characters()
        } else {
            tokens.0
        })));
        let characters: Option<Vec<u64>> = tariff
            .by_character
            .then(|| batch.texts.iter().map(|text| text.text.chars().count() as u64).collect());
        let shares = shares(tokens, cost, &weights, characters.as_deref());
        // a health check proves nothing to anybody who was given a vector
        if batch.texts.iter().any(|text| text.asker.agent.as_str() != AgentId::SYSTEM) {
            deployment.has_answered();
        }
        let order = Arc::clone(&batch.order);
        let vectors: Vec<Vector> = answer
            .vectors
            .into_iter()
            .zip(shares.iter().zip(&batch.texts))
            .map(|(vector, (share, text))| Vector {
                cached: Cached {
                    vector,
                    tokens: share.tokens,
                    provider: Arc::clone(&deployment.account.name),
                    made,
                    kept: made,
                    stamp: text.stamp,
                },
                cost: share.cost,
                called,
            })
            .collect();
        // before anything else can go wrong: they are paid
        self.tiers.keep(&batch.texts, &vectors);
        self.metrics.tokens.with_label_values(&[&*deployment.account.name, &order.model.id]).inc_by(tokens.0);
        if parts.len() > 1 {
            self.metrics.shared_calls.inc();
        }
        let charges = parts.iter().map(|part| {
            let of_part = |at: &usize| shares.get(*at).copied().unwrap_or_default();
            (Arc::clone(&part.asker), part.texts.iter().map(of_part).sum::<Share>(), part.texts.len())
        });
        let settlement = Settlement {
            attempt: hold.attempt,
            outcome: AttemptOutcome::Settled,
            tokens,
            billed_units: if tariff.by_character { units.unwrap_or_else(|| batch.characters()) } else { 0 },
            charges: charges.collect(),
        };
        self.books.settle(&ctx, hold, settlement).await;
        for (text, vector) in batch.texts.into_iter().zip(vectors) {
            text.land(Ok(vector));
        }
    }

    async fn count(&self, batch: &Batch) -> TokenCount {
        let mut sum = TokenCount(0);
        for text in &batch.texts {
            sum.0 += self.tokenizers.count(&batch.order.model, &text.text).await.0;
        }
        sum
    }

    /// By what the texts share tokens and cost: their own tokens where requests share a call, and where lengths could give a text more
    /// than the model takes; else their lengths, which is at once and moves no money between anybody.
    async fn weights(&self, batch: &Batch, shared: bool) -> Vec<u64> {
        let limit = u64::from(batch.order.model.max_input_tokens);
        let exact = shared || (batch.texts.len() > 1 && batch.texts.iter().any(|text| text.bound.0 > limit));
        let mut weights = Vec::with_capacity(batch.texts.len());
        for text in &batch.texts {
            weights.push(if exact {
                self.tokenizers.count(&batch.order.model, &text.text).await.0.max(1)
            } else {
                text.text.len().max(1) as u64
            });
        }
        weights
    }
}

/// A call that ended because its callers could not wait as long as the deployment may take is no failure of the deployment's, unless it
/// had taken far longer than usual by then.
fn impatient(
    error: ProviderError,
    deployment: &Deployment,
    timeout: Duration,
    took: Duration,
) -> ProviderError {
    let by_time = matches!(error.failure, Failure::TimedOut | Failure::Unreachable) && took >= timeout;
    if !by_time || timeout >= deployment.account.timeout {
        return error;
    }
    let usual = deployment.stats.summary(Instant::now()).p95.unwrap_or_default();
    if took >= PATIENT.max(usual * 3) {
        return error;
    }
    // before a connection stands nothing was sent
    let failure = if error.failure == Failure::Unreachable { Failure::Local } else { Failure::Abandoned };
    ProviderError { failure, ..error }
}

/// How long the next call may take; `None`: no time is left.
fn time_for(deployment: &Deployment, deadline: Option<Instant>) -> Option<Duration> {
    let most = deployment.account.timeout;
    let time = deadline.map_or(most, |at| at.saturating_duration_since(Instant::now()).min(most));
    (time > Duration::from_millis(1)).then_some(time)
}
