//! The way of one request through the router: choose the space, measure the texts, look each up, send what is missing, put the answer
//! together.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use embermesh_errors::{Code, Error};
use embermesh_escrow::Quota;
use embermesh_proto::internal::v1::{Hit, RouteReply, RouteRequest};
use embermesh_providers::InputType;
use embermesh_telemetry::Trace;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, TokenCount};

use crate::{
    agent_limits::AgentLimits,
    answer::{Found, Unit, assemble},
    attempts::Attempts,
    batch::Order,
    cheaper::{cheaper_models, is_spent},
    consider::usual_tariff,
    domain::{choice::Choice, price::Tariff, request_limits::RequestLimits, strategy::Strategy},
    fetch::Fetcher,
    long_texts::{OnTooLong, measure},
    profile::Profile,
    provider_time::ProviderTime,
    resolve::{Question, Resolver},
    text::Asker,
    tokenizers::Tokenizers,
};

/// Everything a request needs.
#[derive(Debug)]
pub(crate) struct Embedder {
    pub resolver: Resolver,
    pub fetcher: Fetcher,
    pub attempts: Arc<Attempts>,
    pub agent_limits: AgentLimits,
    /// Where the agent's configuration says nothing.
    pub strategy: Strategy,
}

/// A request that has been read.
struct Job {
    asker: Arc<Asker>,
    profile: Profile,
    texts: Vec<Arc<str>>,
    input_type: InputType,
    on_too_long: OnTooLong,
}

impl Embedder {
    /// Embeds the texts of a request: as many items as texts, in order, each a vector or a failure.
    pub async fn embed(&self, ctx: CallContext, request: RouteRequest) -> Result<RouteReply, Error> {
        let started = Instant::now();
        let agent: AgentId =
            request.agent_id.parse().map_err(|e| Error::invalid("agent_id", format!("{e}")))?;
        if request.texts.is_empty() {
            return Err(Error::invalid("input", "there is no text to embed"));
        }
        let profile = self.profile(&ctx, &agent)?;
        let input_type = input_type(&request.input_type)?;
        let question = Question {
            agent: &agent,
            task_type: &request.task_type,
            model: &request.model,
            dimensions: request.dimensions,
            strategy: profile.terms.strategy,
        };
        let choice = self.resolver.choose(&ctx, question, input_type == InputType::Document).await?;
        let may_leave = request.model.is_empty() && profile.cross_space && !request.stay_in_space;
        let job = Job {
            asker: Arc::new(Asker {
                ctx: ctx.clone(),
                agent: agent.clone(),
                trace: Trace::current(),
                at_providers: ProviderTime::default(),
            }),
            profile,
            input_type,
            on_too_long: OnTooLong::parse(&request.on_too_long)?,
            texts: request.texts.into_iter().map(Arc::from).collect(),
        };
        let _slot = self.limit(&job, &choice).await?;
        let counted = self.attempts.books.quotas.take(&ctx, Quota::Requests, 1).await?;

        let outcome = self.embed_in(&job, &choice).await;
        let others = || self.resolver.fallbacks(&ctx, question, &choice);
        let (served, outcome) = if may_leave && outcome.as_ref().is_ok_and(|units| is_down(units)) {
            tracing::warn!(agent = %agent, from = %choice.space, "the agent's space is down, fallback models are tried");
            self.elsewhere(&job, &choice, outcome, others()).await
        } else if may_leave && job.profile.terms.cheaper && is_spent(&outcome) {
            let (deployments, now) = (&self.resolver.deployments, self.attempts.clock.now());
            let cheaper = cheaper_models(deployments, &choice, others(), &job.texts, now);
            self.elsewhere(&job, &choice, outcome, cheaper).await
        } else {
            (choice.clone(), outcome)
        };
        if let Some(counted) = counted {
            let answered =
                outcome.as_ref().is_ok_and(|units| units.iter().any(|unit| unit.found().next().is_some()));
            counted.end(u64::from(answered));
        }
        let outcome = outcome?;
        self.book_hits(&job, &served, &outcome);
        let items = assemble(outcome);

        let failed = items.iter().filter(|item| item.failure.is_some()).count();
        let metrics = &self.attempts.metrics;
        let status = if failed == 0 { "ok" } else { "error" };
        let model = served.model.id.as_str();
        metrics.requests.with_label_values(&[model, status]).inc();
        metrics.items.with_label_values(&[model]).inc_by((items.len() - failed) as u64);
        metrics.request_seconds.with_label_values(&[model]).observe(started.elapsed().as_secs_f64());
        tracing::debug!(
            request_id = %ctx.request_id, tenant = %ctx.principal.tenant, %agent, task_type = request.task_type,
            space = %served.space, strategy = job.profile.terms.strategy.as_str(), inputs = items.len(), failed,
            cached = items.iter().filter(|item| item.cached).count(), providers = ?providers(&items),
            fell_back = served.space != choice.space, ms = started.elapsed().as_millis(), "embedded"
        );
        Ok(RouteReply {
            model: served.model.id.clone(),
            space_id: served.space.as_str().to_owned(),
            dimensions: served.space.dimensions(),
            items,
            instead_of: if served.space == choice.space { String::new() } else { choice.space.to_string() },
            at_providers_us: u64::try_from(job.asker.at_providers.total().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// The terms of an agent.
    pub fn profile(&self, ctx: &CallContext, agent: &AgentId) -> Result<Profile, Error> {
        let snapshot = self.resolver.snapshot()?;
        Ok(Profile::of(snapshot.agent(ctx.principal.tenant, agent).map(|a| &**a), self.strategy))
    }

    /// Embeds all texts in the space of `choice`.
    async fn embed_in(&self, job: &Job, choice: &Choice) -> Result<Vec<Unit>, Error> {
        let mut units = self.take_apart(job, choice).await;
        let order = Order {
            tenant: job.asker.ctx.principal.tenant,
            model: Arc::clone(&choice.model),
            space: choice.space.clone(),
            // of models that embed both alike, both share calls and caches
            input_type: if choice.model.distinguishes_input_type {
                job.input_type
            } else {
                InputType::Document
            },
            terms: job.profile.terms.clone(),
        };
        self.check_request_limits(job, choice, &order, &units).await?;
        self.fetcher.fetch(&job.asker, order, &job.profile, &mut units).await;
        Ok(units)
    }

    /// The first of `others` that answers, with its answer; when none does, `choice` with what it came to.
    async fn elsewhere(
        &self,
        job: &Job,
        choice: &Choice,
        came_to: Result<Vec<Unit>, Error>,
        others: Vec<Choice>,
    ) -> (Choice, Result<Vec<Unit>, Error>) {
        for other in others {
            let answered = self.embed_in(job, &other).await;
            let answers = answered.as_ref().is_ok_and(|units| !is_down(units)) && !is_spent(&answered);
            if answers {
                tracing::warn!(agent = %job.asker.agent, from = %choice.space, to = %other.space, "a fallback model answers");
                return (other, answered);
            }
        }
        (choice.clone(), came_to)
    }

    /// What is embedded of each text: the whole of it, its beginning, its pieces, or nothing.
    async fn take_apart(&self, job: &Job, choice: &Choice) -> Vec<Unit> {
        let mut units = Vec::with_capacity(job.texts.len());
        for text in &job.texts {
            let measured = measure(&self.attempts.tokenizers, &choice.model, text, job.on_too_long).await;
            match measured {
                Ok(None) => units.push(Unit::whole(Arc::clone(text))),
                Ok(Some(long)) => units.push(Unit::cut(text, long)),
                Err(error) => units.push(Unit::refused(Arc::clone(text), error)),
            }
        }
        units
    }

    async fn limit(
        &self,
        job: &Job,
        choice: &Choice,
    ) -> Result<Option<crate::agent_limits::AgentSlot>, Error> {
        let Some(limits) = &job.profile.rate_limits else { return Ok(None) };
        let tokens = match limits.tokens_per_minute {
            None => 0,
            Some(_) => self.count(job, choice).await,
        };
        let tenant = job.asker.ctx.principal.tenant;
        self.agent_limits.admit(tenant, &job.asker.agent, limits, tokens).await.map(Some)
    }

    async fn count(&self, job: &Job, choice: &Choice) -> u64 {
        let mut sum = 0;
        for text in &job.texts {
            sum += self.attempts.tokenizers.count(&choice.model, text).await.0;
        }
        sum
    }

    /// Holds the request to the agent's `max_tokens_per_request` and `max_cost_per_request`. Counts tokens only where a bound by the
    /// lengths of the texts does not settle it.
    async fn check_request_limits(
        &self,
        job: &Job,
        choice: &Choice,
        order: &Order,
        units: &[Unit],
    ) -> Result<(), Error> {
        let snapshot = self.resolver.snapshot()?;
        let tenant = job.asker.ctx.principal.tenant;
        let agent = snapshot.agent(tenant, &job.asker.agent);
        let Some(constraints) = agent.and_then(|agent| agent.constraints.as_ref()) else { return Ok(()) };
        let tariff = usual_tariff(&self.resolver.deployments, &choice.model, self.attempts.clock.now());
        let limits = RequestLimits {
            tokens: constraints.max_tokens_per_request,
            cost: constraints.max_cost_per_request_nano_usd.map(NanoUsd),
            price: tariff.map(|tariff: Tariff| tariff.price).unwrap_or_default(),
        };
        let tokenizers = &self.attempts.tokenizers;
        let bound = |text: &Arc<str>| Tokenizers::bound(&choice.model, text).0;
        let texts = || units.iter().flat_map(Unit::texts);
        let sum = texts().map(bound).sum();
        if limits.check(sum, sum).is_ok() {
            return Ok(());
        }
        // what is in memory costs nothing
        let known = |text: &Arc<str>| self.fetcher.is_known(&job.asker.agent, order, &job.profile, text);
        let (mut all, mut to_send) = (0, 0);
        for text in texts() {
            let tokens = tokenizers.count(&choice.model, text).await.0;
            all += tokens;
            to_send += if known(text) { 0 } else { tokens };
        }
        limits.check(all, to_send)
    }

    fn book_hits(&self, job: &Job, choice: &Choice, units: &[Unit]) {
        if !units.iter().flat_map(Unit::found).any(|found| found.cached) {
            return;
        }
        let now = self.attempts.clock.now();
        let tariff = usual_tariff(&self.resolver.deployments, &choice.model, now);
        let Some(tariff) = tariff else { return };
        let mut by_provider: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
        let hits = units.iter().flat_map(Unit::found).filter(|found| found.cached);
        for Found { vector, .. } in hits {
            let (tokens, inputs) = by_provider.entry(&vector.provider).or_default();
            *tokens += vector.tokens.0;
            *inputs += 1;
        }
        let ctx = &job.asker.ctx;
        for (provider, (tokens, inputs)) in by_provider {
            let hit = Hit {
                request_id: ctx.request_id.as_str().to_owned(),
                agent_id: job.asker.agent.as_str().to_owned(),
                key_id: ctx.principal.key.as_str().to_owned(),
                provider: provider.to_owned(),
                model: choice.model.id.clone(),
                tokens,
                inputs,
                saved_nano_usd: tariff.price.cost(TokenCount(tokens)).0,
                charge_id: String::new(),
            };
            self.attempts.books.record_hit(ctx, now, hit);
        }
    }
}

fn input_type(name: &str) -> Result<InputType, Error> {
    match name {
        "" | "document" => Ok(InputType::Document),
        "query" => Ok(InputType::Query),
        _ => Err(Error::invalid("input_type", "choose document or query")),
    }
}

/// Nothing could be had, and not because of the input: the space is down.
fn is_down(units: &[Unit]) -> bool {
    let down =
        |error: &Error| matches!(error.code, Code::Unavailable | Code::RateLimited | Code::DeadlineExceeded);
    units.iter().all(|unit| unit.found().next().is_none()) && units.iter().filter_map(Unit::error).any(down)
}

fn providers(items: &[embermesh_proto::internal::v1::RouteItem]) -> Vec<&str> {
    let mut names: Vec<&str> = items.iter().map(|item| item.provider.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
