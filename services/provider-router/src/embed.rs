//! The way of one request through the router: choose the space, look every text up, send what is missing, keep what came.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{Failure, Hit, RouteItem, RouteReply, RouteRequest},
    v1::CatalogModel,
};
use embermesh_subscription::Subscription;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, TokenCount};
use futures::{StreamExt, stream};
use tokio::sync::oneshot;

use crate::{
    asking::{Asking, results},
    attempts::Attempts,
    batch::Batch,
    cache::{Cache, Cached, Key, KeyMaker},
    deployment::{Deployment, Deployments},
    domain::{
        choice::{Choice, Wanted, choose, pinned},
        price::price_at,
        request_limits::RequestLimits,
    },
    missing::{Missing, in_batches},
    pins::Pins,
    tokenizers::Tokenizers,
};

/// Provider calls of one request at a time.
const CONCURRENT_BATCHES: usize = 4;
/// Task type of requests that name none.
const DEFAULT_TASK: &str = "general_qa";

/// Everything a request needs.
#[derive(Debug)]
pub(crate) struct Embedder {
    pub subscription: Subscription,
    pub deployments: Deployments,
    pub default_models: Vec<String>,
    pub cache: Cache,
    pub pins: Pins,
    pub attempts: Arc<Attempts>,
    pub tasks: Tasks,
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
        let choice = self.choice(&ctx, &agent, &request).await?;
        let model = &choice.model;

        let mut items = vec![RouteItem::default(); request.texts.len()];
        let input_type = if model.distinguishes_input_type { request.input_type.as_str() } else { "" };
        let keys = KeyMaker::new(ctx.principal.tenant, &choice.space, input_type);
        let max_age = self.max_age(&ctx, &agent);
        let missing = self.look_up(&keys, request.texts, max_age, &mut items);
        self.check_request_limits(&ctx, &agent, model, &items, &missing).await?;
        let sendable = self.refuse_too_long(model, missing, &mut items).await;
        self.send(&ctx, &agent, &choice, sendable, max_age.is_some(), &mut items).await;
        self.book_hits(&ctx, &agent, model, &items);

        let failed = items.iter().filter(|item| item.failure.is_some()).count();
        let metrics = &self.attempts.metrics;
        let status = if failed == 0 { "ok" } else { "error" };
        metrics.requests.with_label_values(&[model.id.as_str(), status]).inc();
        metrics.items.with_label_values(&[&model.id]).inc_by((items.len() - failed) as u64);
        metrics.request_seconds.with_label_values(&[&model.id]).observe(started.elapsed().as_secs_f64());
        Ok(RouteReply {
            model: model.id.clone(),
            space_id: choice.space.to_string(),
            dimensions: choice.space.dimensions(),
            items,
        })
    }

    /// The model and space of a request; a document of an agent without a pin pins them.
    async fn choice(
        &self,
        ctx: &CallContext,
        agent: &AgentId,
        request: &RouteRequest,
    ) -> Result<Choice, Error> {
        let choice = self.resolve(ctx, agent, &request.task_type, &request.model, request.dimensions)?;
        if !choice.unpinned || request.input_type == "query" {
            return Ok(choice);
        }
        let pin = self.pins.pin(ctx, agent, task_or_default(&request.task_type), &choice).await?;
        pinned(&pin, &self.subscription.current(), None)
    }

    /// The model and space that a request would get, without fixing anything.
    pub fn resolve(
        &self,
        ctx: &CallContext,
        agent: &AgentId,
        task_type: &str,
        model: &str,
        dimensions: u32,
    ) -> Result<Choice, Error> {
        let (tenant, task_type) = (ctx.principal.tenant, task_or_default(task_type));
        let dimensions = (dimensions > 0).then_some(dimensions);
        let model = (!model.is_empty()).then_some(model);
        // before that every model would be unknown, which a client would take for an answer
        let unknown = || Error::unavailable("the router does not know its configuration yet, try again");
        let snapshot = self.subscription.known().ok_or_else(unknown)?;
        if model.is_none()
            && snapshot.pin(tenant, agent, task_type).is_none()
            && let Some(pin) = self.pins.fresh(tenant, agent, task_type)
        {
            return pinned(&pin, &snapshot, dimensions);
        }
        let wanted = Wanted { tenant, agent, task_type, model, dimensions };
        // not whether one can be called now: a short outage must not decide where an agent's vectors lie for ever
        let serves =
            |model: &CatalogModel| self.deployments.iter().any(|deployment| deployment.serves(model));
        choose(&wanted, &snapshot, &self.default_models, &serves)
    }

    /// How old a vector from memory may be for an agent; `None`: it wants none, and nothing of its own is kept.
    fn max_age(&self, ctx: &CallContext, agent: &AgentId) -> Option<Duration> {
        let snapshot = self.subscription.current();
        let configured = snapshot.agent(ctx.principal.tenant, agent).and_then(|agent| agent.cache.as_ref());
        let Some(cache) = configured else { return Some(Duration::MAX) };
        // admin has checked the text
        let ttl = cache.ttl.as_deref().and_then(|ttl| humantime::parse_duration(ttl).ok());
        cache.enabled.unwrap_or(true).then(|| ttl.unwrap_or(Duration::MAX))
    }

    /// Fills in what the cache holds; returns the rest, each distinct text once.
    fn look_up(
        &self,
        keys: &KeyMaker,
        texts: Vec<String>,
        max_age: Option<Duration>,
        items: &mut [RouteItem],
    ) -> Vec<Missing> {
        let mut missing: Vec<Missing> = Vec::new();
        let mut known: HashMap<Key, usize> = HashMap::new();
        for (at, text) in texts.into_iter().enumerate() {
            let key = keys.key(&text);
            if let Some(first) = known.get(&key) {
                missing[*first].at.push(at);
            } else if let Some(cached) = max_age.and_then(|age| self.cache.get(&key, age)) {
                items[at] = hit(&cached);
            } else {
                known.insert(key, missing.len());
                missing.push(Missing { key, text: text.into(), at: vec![at] });
            }
        }
        let metrics = &self.attempts.metrics;
        metrics.cache_misses.inc_by(missing.len() as u64);
        metrics.cache_hits.inc_by((items.len() - missing.len()) as u64);
        missing
    }

    fn book_hits(&self, ctx: &CallContext, agent: &AgentId, model: &CatalogModel, items: &[RouteItem]) {
        let Some(price) = price_at(model, self.attempts.clock.now()) else { return };
        let mut by_provider: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
        for item in items.iter().filter(|item| item.cached) {
            let (tokens, inputs) = by_provider.entry(&item.provider).or_default();
            *tokens += item.tokens;
            *inputs += 1;
        }
        for (provider, (tokens, inputs)) in by_provider {
            let hit = Hit {
                request_id: ctx.request_id.to_string(),
                agent_id: agent.to_string(),
                key_id: ctx.principal.key.to_string(),
                provider: provider.to_owned(),
                model: model.id.clone(),
                tokens,
                inputs,
                saved_nano_usd: price.cost(TokenCount(tokens)).0,
            };
            self.attempts.books.record_hit(ctx, hit);
        }
    }

    /// Holds the request to the agent's `max_tokens_per_request` and `max_cost_per_request`. Counts tokens only where a bound by the
    /// lengths of the texts does not settle it.
    async fn check_request_limits(
        &self,
        ctx: &CallContext,
        agent: &AgentId,
        model: &CatalogModel,
        items: &[RouteItem],
        missing: &[Missing],
    ) -> Result<(), Error> {
        let snapshot = self.subscription.current();
        let configured =
            snapshot.agent(ctx.principal.tenant, agent).and_then(|agent| agent.constraints.as_ref());
        let Some(constraints) = configured else { return Ok(()) };
        let limits = RequestLimits {
            tokens: constraints.max_tokens_per_request,
            cost: constraints.max_cost_per_request_nano_usd.map(NanoUsd),
            price: price_at(model, self.attempts.clock.now()).unwrap_or_default(),
            known: items.iter().map(|item| item.tokens).sum(),
        };
        let bound = missing.iter().map(|one| Tokenizers::bound(model, &one.text).0).sum();
        if limits.check(bound).is_ok() {
            return Ok(());
        }
        let mut counted = 0;
        for one in missing {
            counted += self.attempts.tokenizers.count(model, &one.text).await.0;
        }
        limits.check(counted)
    }

    async fn refuse_too_long(
        &self,
        model: &CatalogModel,
        missing: Vec<Missing>,
        items: &mut [RouteItem],
    ) -> Vec<Missing> {
        let mut sendable = Vec::with_capacity(missing.len());
        for one in missing {
            match self.attempts.tokenizers.check_length(model, &one.text).await {
                Ok(()) => sendable.push(one),
                Err(error) => fail(items, &one, &error),
            }
        }
        sendable
    }

    async fn send(
        &self,
        ctx: &CallContext,
        agent: &AgentId,
        choice: &Choice,
        missing: Vec<Missing>,
        use_cache: bool,
        items: &mut [RouteItem],
    ) {
        if missing.is_empty() {
            return;
        }
        let candidates = self.deployments.candidates(&choice.model, Instant::now());
        let unusable = match price_at(&choice.model, self.attempts.clock.now()) {
            None => Err(Error::unavailable(format!(
                "{} has no price; add one before it can be charged",
                choice.model.id
            ))),
            Some(_) if candidates.is_empty() => Err(Error::unavailable(format!(
                "no configured provider serves {}; add one under embedding.providers",
                choice.model.id
            ))),
            Some(price) => Ok(price),
        };
        let price = match unusable {
            Ok(price) => price,
            Err(error) => return missing.iter().for_each(|one| fail(items, one, &error)),
        };
        let parts = in_batches(&missing, &choice.model, &candidates);
        let snapshot = self.subscription.current();
        let configured = snapshot.agent(ctx.principal.tenant, agent);
        let max_retries = configured.and_then(|agent| agent.fallback_behavior.as_ref()?.max_retries);
        let calls: Vec<_> = parts
            .iter()
            .map(|part| {
                let batch = Batch {
                    ctx: ctx.clone(),
                    agent: agent.clone(),
                    model: Arc::clone(&choice.model),
                    space: choice.space.clone(),
                    price,
                    texts: part.iter().map(|one| Arc::clone(&one.text)).collect(),
                    max_retries,
                };
                let keys = use_cache.then(|| part.iter().map(|one| one.key).collect());
                self.call(batch, keys, candidates.clone())
            })
            .collect();
        let mut outcomes = stream::iter(calls).buffered(CONCURRENT_BATCHES);
        let mut parts = parts.into_iter();
        while let (Some(outcome), Some(part)) = (outcomes.next().await, parts.next()) {
            match outcome {
                Ok((cost, results)) => {
                    let weights: Vec<u64> = results.iter().map(|cached| cached.tokens.0).collect();
                    let costs = cost.split(&weights);
                    for ((one, cached), cost) in part.iter().zip(&results).zip(costs) {
                        for (nth, at) in one.at.iter().enumerate() {
                            items[*at] = hit(cached);
                            // the first of equal texts was paid, the others came with it
                            if nth == 0 {
                                items[*at].cached = false;
                                items[*at].cost_nano_usd = cost.0;
                            }
                        }
                    }
                }
                Err(error) => part.iter().for_each(|one| fail(items, one, &error)),
            }
        }
    }

    /// Calls for one batch, in a task of its own: a caller who goes away leaves neither an open attempt nor a paid vector behind.
    fn call(
        &self,
        batch: Batch,
        keys: Option<Vec<Key>>,
        candidates: Vec<Arc<Deployment>>,
    ) -> impl Future<Output = Result<(NanoUsd, Vec<Cached>), Error>> + use<> {
        let (attempts, cache, tasks) = (Arc::clone(&self.attempts), self.cache.clone(), self.tasks.clone());
        async move {
            // dropped with this future, which tells the task that nobody waits any more
            let (gone, _caller) = oneshot::channel();
            let texts = batch.texts.clone();
            let asking = Asking { gone, tasks: tasks.clone(), cache, keys, texts };
            let task = tasks.spawn("provider call", async move {
                let embedded = attempts.embed(&batch, &candidates, &asking).await?;
                Ok((embedded.cost, results(&batch.texts, &embedded)))
            });
            match task.await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => Err(Error::unavailable("the router is stopping, try again")),
                Err(_) => Err(Error::internal("the request met a defect, report its request id")),
            }
        }
    }
}

fn hit(cached: &Cached) -> RouteItem {
    RouteItem {
        vector: cached.vector.clone(),
        tokens: cached.tokens.0,
        cost_nano_usd: 0,
        cached: true,
        provider: cached.provider.to_string(),
        failure: None,
    }
}

fn fail(items: &mut [RouteItem], one: &Missing, error: &Error) {
    for at in &one.at {
        items[*at] = RouteItem { failure: Some(failure(error)), ..RouteItem::default() };
    }
}

fn failure(error: &Error) -> Failure {
    let details = &error.details;
    Failure {
        code: error.code.as_str().to_owned(),
        message: error.message.clone(),
        param: error.param.clone().unwrap_or_default(),
        details: if details.is_empty() {
            String::new()
        } else {
            serde_json::Value::Object(details.clone()).to_string()
        },
        retry_after_ms: error
            .retry_after
            .map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn task_or_default(task_type: &str) -> &str {
    if task_type.is_empty() { DEFAULT_TASK } else { task_type }
}
