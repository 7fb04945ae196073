//! Brings the vectors of a request's texts together: from a cache, from a call that is under way for somebody else, or from a call of
//! its own. Each distinct text is looked up and sent once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::CatalogModel;
use embermesh_resilience::Flights;
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_telemetry::Span;
use embermesh_types::{AgentId, SpaceId, TokenCount};

use crate::{
    admission::too_late,
    answer::{Found, Outcome, Unit},
    batch::Order,
    cache::{Cached, Key, lone_key},
    domain::{space::space_of, unit_length::cut},
    groups::Groups,
    hashing::HashMap,
    key_makers::KeyMakers,
    profile::Profile,
    text::{Asker, Landed, Text, Waiting},
    tiers::{Tiers, Wanted},
    tokenizers::Tokenizers,
};

/// How often a text is asked for again because whoever asked first could not have it for reasons of its own.
const MAX_ROUNDS: usize = 3;

/// Fetches vectors.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub key_makers: KeyMakers,
    pub tiers: Tiers,
    pub flights: Flights<Key, Landed>,
    pub groups: Arc<Groups>,
    pub tokenizers: Tokenizers,
    /// What was cleared.
    pub subscription: Subscription,
}

/// The result of each distinct text.
type Results = HashMap<Key, Result<Found, Arc<Error>>>;

impl Fetcher {
    /// Gives every open part of `units` its result.
    pub async fn fetch(&self, asker: &Arc<Asker>, order: Order, profile: &Profile, units: &mut [Unit]) {
        let mut span = Span::new("cache");
        let keys = self.key_makers.of(order.tenant, &order.space, input_type_of(&order));
        let clears = Clears { snapshot: self.subscription.current(), agent: &asker.agent };
        let floor = clears.floor(&order, &order.space);
        let mut open: Vec<(Key, &Arc<str>, &mut Outcome)> = Vec::new();
        for (text, result) in units.iter_mut().flat_map(Unit::open) {
            // what may not be kept is not shared either
            let key = if profile.max_age.is_some() { keys.key(text) } else { lone_key() };
            open.push((key, text, result));
        }
        let mut missing: Vec<(Key, Arc<str>)> = Vec::new();
        let mut results = Results::default();
        for (key, text, _) in &open {
            if results.contains_key(key) {
                continue;
            }
            match profile.max_age.and_then(|age| self.known(key, text, &order, age, &clears)) {
                Some(cached) => drop(results.insert(*key, Ok(Found::hit(cached)))),
                // a place for it, so that equal texts are asked for once
                None => {
                    results.insert(*key, Err(unanswered()));
                    missing.push((*key, Arc::clone(text)));
                }
            }
        }
        let metrics = &self.tiers.metrics;
        metrics.cache_hits.inc_by((results.len() - missing.len()) as u64);
        metrics.cache_misses.inc_by(missing.len() as u64);
        let wanted = profile.max_age.map(|max_age| Wanted { space: &order.space, max_age, floor });
        if let (false, Some(wanted)) = (missing.is_empty(), &wanted) {
            let asked: Vec<Key> = missing.iter().map(|(key, _)| *key).collect();
            let found = self.tiers.in_redis(&asked, wanted).await;
            missing.retain(|(key, _)| !found.contains_key(key));
            results.extend(found.into_iter().map(|(key, cached)| (key, Ok(Found::hit(cached)))));
        }
        span.set("embermesh.texts", results.len() as i64);
        span.set("embermesh.hits", (results.len() - missing.len()) as i64);
        drop(span);
        let stamp = clears.snapshot.version;
        self.send(asker, &order, wanted.as_ref(), stamp, missing, &mut results).await;
        if profile.use_cache_on_failure {
            self.rescue(&order.space, floor, &mut results);
        }
        for (key, _, result) in open {
            *result = results.get(&key).cloned();
            // the first of equal texts was paid, the others came with it
            if let Some(Ok(found)) = results.get_mut(&key) {
                *found = Found::hit(found.vector.clone());
            }
        }
    }

    /// Whether this process keeps the vector of a text.
    pub fn is_known(&self, agent: &AgentId, order: &Order, profile: &Profile, text: &str) -> bool {
        let key = self.key_makers.of(order.tenant, &order.space, input_type_of(order)).key(text);
        let clears = Clears { snapshot: self.subscription.current(), agent };
        profile.max_age.is_some_and(|age| self.known(&key, text, order, age, &clears).is_some())
    }

    /// What this process keeps of a text, also as the beginning of a longer vector where the model's vectors are nested.
    fn known(
        &self,
        key: &Key,
        text: &str,
        order: &Order,
        max_age: Duration,
        clears: &Clears<'_>,
    ) -> Option<Cached> {
        let floor = clears.floor(order, &order.space);
        let wanted = Wanted { space: &order.space, max_age, floor };
        self.tiers.in_memory(key, &wanted).or_else(|| {
            longer_spaces(&order.model, &order.space).into_iter().find_map(|longer| {
                let keys = self.key_makers.of(order.tenant, &longer, input_type_of(order));
                let floor = clears.floor(order, &longer).max(floor);
                let wanted = Wanted { space: &longer, max_age, floor };
                let cached = self.tiers.in_memory(&keys.key(text), &wanted)?;
                Some(Cached { vector: cut(&cached.vector, order.space.dimensions())?, ..cached })
            })
        })
    }

    /// Waits for what is missing: for calls of others where there are any, else for calls of its own.
    async fn send(
        &self,
        asker: &Arc<Asker>,
        order: &Order,
        wanted: Option<&Wanted<'_>>,
        stamp: i64,
        mut missing: Vec<(Key, Arc<str>)>,
        results: &mut Results,
    ) {
        for round in 0..MAX_ROUNDS {
            if missing.is_empty() {
                return;
            }
            let mut leads: Vec<Text> = Vec::new();
            let mut waiting: Vec<(Key, Arc<str>, bool, Waiting)> = Vec::new();
            for (key, text) in missing.drain(..) {
                let joined = self.flights.join(key);
                // one that has landed since the look is there by now
                if joined.lead.is_some()
                    && let Some(cached) = wanted.and_then(|wanted| self.tiers.in_memory(&key, wanted))
                {
                    // whoever has joined this one looks again
                    drop(joined);
                    results.insert(key, Ok(Found::hit(cached)));
                    continue;
                }
                waiting.push((key, Arc::clone(&text), joined.lead.is_some(), joined.flight));
                if let Some(lead) = joined.lead {
                    let bound = Tokenizers::bound(&order.model, &text);
                    let asker = Arc::clone(asker);
                    leads.push(Text {
                        text,
                        key,
                        bound,
                        tokens: bound,
                        asker,
                        keep: wanted.is_some(),
                        stamp,
                        lead,
                    });
                }
            }
            let others = waiting.len() - leads.len();
            let joined = Instant::now();
            self.tiers.metrics.single_flight.inc_by(others as u64);
            self.submit(asker, order, leads).await;
            for (key, text, led, flight) in waiting {
                let landed = flight.await;
                if let (Some(Ok(vector)), false) = (&landed, led) {
                    let (begun, ended) = vector.called;
                    asker.at_providers.add(begun.max(joined), ended);
                }
                let result = match landed {
                    Some(Ok(vector)) if led => Ok(Found::made(vector)),
                    // asked for before an order to clear that this request knows
                    Some(Ok(vector))
                        if wanted.is_some_and(|wanted| vector.cached.stamp < wanted.floor)
                            && round + 1 < MAX_ROUNDS =>
                    {
                        missing.push((key, text));
                        continue;
                    }
                    Some(Ok(vector)) => Ok(Found::hit(vector.cached)),
                    // the other's budget, rate or time, not this request's
                    Some(Err(error)) if !led && is_of_asker(&error) && round + 1 < MAX_ROUNDS => {
                        missing.push((key, text));
                        continue;
                    }
                    Some(Err(error)) => Err(error),
                    // whoever was first has gone, or it went down with a defect
                    None if round + 1 < MAX_ROUNDS => {
                        missing.push((key, text));
                        continue;
                    }
                    None => Err(Arc::new(Error::unavailable("the router is stopping, try again"))),
                };
                results.insert(key, result);
            }
        }
    }

    /// Sends texts on their way, unless they would wait for longer than they can.
    async fn submit(&self, asker: &Asker, order: &Order, mut texts: Vec<Text>) {
        if texts.is_empty() {
            return;
        }
        if self.groups.counts_tokens(order) {
            for text in &mut texts {
                text.tokens = self.tokenizers.count(&order.model, &text.text).await;
            }
        }
        if let Some(left) = asker.ctx.time_left() {
            let TokenCount(tokens) = crate::batch::tokens(&texts);
            let wait = self.groups.estimate(order, tokens);
            if wait > left {
                let error = Arc::new(too_late(order, wait));
                return texts.into_iter().for_each(|text| text.land(Err(Arc::clone(&error))));
            }
        }
        self.groups.submit(order.clone(), texts);
    }

    /// Puts vectors of any age where there would be an error that is not the input's.
    fn rescue(&self, space: &SpaceId, floor: i64, results: &mut Results) {
        for (key, result) in results.iter_mut() {
            let down = |error: &Arc<Error>| error.code.is_retryable() || error.code == Code::DeadlineExceeded;
            if result.as_ref().is_err_and(down)
                && let Some(cached) = self.tiers.at_any_age(key, space, floor)
            {
                *result = Ok(Found::hit(cached));
            }
        }
    }
}

/// The orders to clear that one agent's request meets.
struct Clears<'a> {
    snapshot: Arc<Snapshot>,
    agent: &'a AgentId,
}

impl Clears<'_> {
    fn floor(&self, order: &Order, space: &SpaceId) -> i64 {
        self.snapshot.cache_floor(order.tenant, self.agent, space)
    }
}

/// What the cache distinguishes; nothing, for models that embed documents and queries alike.
fn input_type_of(order: &Order) -> &'static str {
    if order.model.distinguishes_input_type { order.input_type.as_str() } else { "" }
}

/// The spaces of `model` whose vectors begin with those of `space`, longest first. None of a model whose vectors go out as they come: a
/// cut that is scaled would stand beside the provider's own, which is not.
fn longer_spaces(model: &CatalogModel, space: &SpaceId) -> Vec<SpaceId> {
    if !model.matryoshka || !model.normalized {
        return Vec::new();
    }
    let mut lengths: Vec<u32> = model.allowed_dimensions.clone();
    lengths.push(model.native_dimensions);
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let longer = lengths.into_iter().filter(|length| *length > space.dimensions());
    longer.filter_map(|length| space_of(model, Some(length)).ok()).collect()
}

/// Whether another request for the same text may fare better.
fn is_of_asker(error: &Error) -> bool {
    matches!(
        error.code,
        Code::BudgetExceeded
            | Code::QuotaExceeded
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::RateLimited
            | Code::Forbidden
    )
}

fn unanswered() -> Arc<Error> {
    Arc::new(Error::unavailable("no vector came for the text"))
}
