//! Which configurations of an agent are possible. Every refusal names the field.

use std::{collections::HashSet, fmt::Display, time::Duration};

use embermesh_errors::Error;
use embermesh_pii::{Action, Entity};
use embermesh_proto::v1::{
    Agent, CacheSettings, Constraints, FallbackBehavior, ModelPreference, PiiSettings, RateLimits,
};
use embermesh_types::{AgentId, SpaceId};
use serde::de::IgnoredAny;

use super::names::check_task_type;

const STRATEGIES: [&str; 5] = ["smart", "balanced", "quality", "speed", "cost"];
const CROSS_SPACE: [&str; 2] = ["never", "allow"];
const ON_BUDGET_EXCEEDED: [&str; 2] = ["refuse", "cheaper"];
const MAX_RETRIES: u32 = 10;
const MAX_TASK_TYPES: usize = 64;
const MAX_MODELS: usize = 32;
const MAX_METADATA: usize = 64 * 1024;
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// What an agent may refer to.
pub(crate) struct Known<'a> {
    /// Ids of the catalog.
    pub(crate) models: &'a HashSet<String>,
    /// Entities of the operator's own.
    pub(crate) entities: &'a [String],
}

/// Every model that the configuration names.
pub(crate) fn named_models(agent: &Agent) -> Vec<&str> {
    let preferences = agent.model_preferences.iter();
    preferences.flat_map(|p| p.primary_models.iter().chain(&p.fallback_models)).map(String::as_str).collect()
}

/// Checks the whole configuration.
pub(crate) fn check(agent: &Agent, known: &Known<'_>) -> Result<(), Error> {
    agent.agent_id.parse::<AgentId>().map_err(|error| Error::invalid("agent_id", error.to_string()))?;
    one_of("embedding_strategy", agent.embedding_strategy.as_deref(), &STRATEGIES)?;
    check_preferences(&agent.model_preferences, known.models)?;
    agent.constraints.as_ref().map_or(Ok(()), check_constraints)?;
    agent.fallback_behavior.as_ref().map_or(Ok(()), check_fallback)?;
    agent.cache.as_ref().map_or(Ok(()), check_cache)?;
    agent.pii.as_ref().map_or(Ok(()), |pii| check_pii(pii, known.entities))?;
    check_metadata(&agent.metadata)
}

fn check_preferences(preferences: &[ModelPreference], models: &HashSet<String>) -> Result<(), Error> {
    at_most("model_preferences", preferences.len(), MAX_TASK_TYPES)?;
    let mut seen = HashSet::new();
    for (at, preference) in preferences.iter().enumerate() {
        let field = |name: &str| format!("model_preferences[{at}].{name}");
        check_task_type(field("task_type"), &preference.task_type)?;
        if !seen.insert(&preference.task_type) {
            let message =
                format!("task type '{}' has an entry already, give each one entry", preference.task_type);
            return Err(Error::invalid(field("task_type"), message));
        }
        if preference.primary_models.is_empty() {
            return Err(Error::invalid(field("primary_models"), "name at least one model"));
        }
        let mut named = HashSet::new();
        for (list, ids) in
            [("primary_models", &preference.primary_models), ("fallback_models", &preference.fallback_models)]
        {
            at_most(&field(list), ids.len(), MAX_MODELS)?;
            for (nth, id) in ids.iter().enumerate() {
                let param = || format!("{}[{nth}]", field(list));
                if !models.contains(id) {
                    let id: String = id.chars().take(100).collect();
                    return Err(Error::invalid(param(), format!("model '{id}' is not in the catalog")));
                }
                if !named.insert(id) {
                    return Err(Error::invalid(param(), format!("model '{id}' is named twice")));
                }
            }
        }
    }
    Ok(())
}

fn check_constraints(constraints: &Constraints) -> Result<(), Error> {
    for (name, amount) in [
        ("max_cost_per_day", constraints.max_cost_per_day_nano_usd),
        ("max_cost_per_month", constraints.max_cost_per_month_nano_usd),
        ("max_cost_per_request", constraints.max_cost_per_request_nano_usd),
    ] {
        if amount.is_some_and(|amount| amount < 0) {
            return Err(Error::invalid(
                format!("constraints.{name}"),
                "an amount of money may not be negative",
            ));
        }
    }
    positive("constraints.max_latency_p99_ms", constraints.max_latency_p99_ms)?;
    positive("constraints.max_tokens_per_request", constraints.max_tokens_per_request)?;
    let dimensions = constraints.preferred_dimensions;
    if dimensions.is_some_and(|d| !(1..=SpaceId::MAX_DIMENSIONS).contains(&d)) {
        let message = format!("a vector has 1 to {} dimensions", SpaceId::MAX_DIMENSIONS);
        return Err(Error::invalid("constraints.preferred_dimensions", message));
    }
    constraints.rate_limits.as_ref().map_or(Ok(()), check_rate_limits)
}

fn check_rate_limits(limits: &RateLimits) -> Result<(), Error> {
    positive("constraints.rate_limits.requests_per_minute", limits.requests_per_minute)?;
    positive("constraints.rate_limits.tokens_per_minute", limits.tokens_per_minute)?;
    positive("constraints.rate_limits.concurrent_requests", limits.concurrent_requests)
}

fn check_fallback(fallback: &FallbackBehavior) -> Result<(), Error> {
    if fallback.max_retries.is_some_and(|retries| retries > MAX_RETRIES) {
        let message = format!("at most {MAX_RETRIES} retries are possible");
        return Err(Error::invalid("fallback_behavior.max_retries", message));
    }
    one_of("fallback_behavior.cross_space", fallback.cross_space.as_deref(), &CROSS_SPACE)?;
    let when_spent = fallback.on_budget_exceeded.as_deref();
    one_of("fallback_behavior.on_budget_exceeded", when_spent, &ON_BUDGET_EXCEEDED)
}

fn check_cache(cache: &CacheSettings) -> Result<(), Error> {
    let Some(ttl) = &cache.ttl else { return Ok(()) };
    let readable = humantime::parse_duration(ttl).ok();
    if readable.is_some_and(|ttl| (Duration::from_secs(1)..=LONGEST_TTL).contains(&ttl)) {
        return Ok(());
    }
    Err(Error::invalid("cache.ttl", "expected a duration such as 15m or 24h, from 1s to 365d"))
}

fn check_pii(pii: &PiiSettings, own: &[String]) -> Result<(), Error> {
    if let Some(action) = &pii.action {
        let names = [Action::Off, Action::Detect, Action::Redact, Action::Reject].map(Action::as_str);
        one_of("pii.action", Some(action), &names)?;
    }
    at_most("pii.entities", pii.entities.len(), 64)?;
    for (at, name) in pii.entities.iter().enumerate() {
        let known = match Entity::named(name) {
            Some(Entity::Custom(_)) => own.contains(name),
            named => named.is_some(),
        };
        if !known {
            let built_in = Entity::BUILT_IN.iter().map(Entity::as_str);
            let names: Vec<&str> = built_in.chain(own.iter().map(String::as_str)).collect();
            let message = format!("not an entity that can be found, choose from {}", names.join(", "));
            return Err(Error::invalid(format!("pii.entities[{at}]"), message));
        }
    }
    Ok(())
}

fn check_metadata(text: &str) -> Result<(), Error> {
    at_most("metadata", text.len(), MAX_METADATA)?;
    if text.is_empty() || serde_json::from_str::<std::collections::HashMap<String, IgnoredAny>>(text).is_ok()
    {
        return Ok(());
    }
    Err(Error::invalid("metadata", "expected a JSON object"))
}

fn one_of(param: &str, given: Option<&str>, known: &[&str]) -> Result<(), Error> {
    if given.is_none_or(|given| known.contains(&given)) {
        return Ok(());
    }
    Err(Error::invalid(param, format!("choose from {}", known.join(", "))))
}

fn positive<T: Default + PartialEq + Display>(param: &str, given: Option<T>) -> Result<(), Error> {
    if given.is_some_and(|value| value == T::default()) {
        return Err(Error::invalid(param, "must be at least 1; leave it out for no limit"));
    }
    Ok(())
}

fn at_most(param: &str, count: usize, max: usize) -> Result<(), Error> {
    if count > max {
        return Err(Error::invalid(param, format!("{count} is too many, at most {max} fit")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
