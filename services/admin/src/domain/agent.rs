//! How a change of an agent's configuration meets what is there.

use embermesh_errors::Error;
use embermesh_proto::v1::{
    Agent, AgentInput, CacheSettings, Constraints, FallbackBehavior, PiiSettings, RateLimits,
};

use super::agent_clear::clear;

/// How JSON says that there is none; in an [`Agent`] it is the empty text.
pub(crate) const NO_METADATA: &str = "{}";

/// `current` without the fields that `input` clears, with every field that it gives. A list or the metadata is replaced as a whole;
/// what is absent stays.
///
/// # Errors
/// When there is no field of a name in `clear`.
pub(crate) fn merge(current: Option<Agent>, input: AgentInput) -> Result<Agent, Error> {
    let AgentInput {
        agent_id,
        embedding_strategy,
        model_preferences,
        constraints,
        fallback_behavior,
        cache,
        pii,
        metadata,
        version: _,
        clear: cleared,
    } = input;
    let mut agent = current.unwrap_or_default();
    clear(&mut agent, &cleared)?;
    agent.agent_id = agent_id;
    set(&mut agent.embedding_strategy, embedding_strategy);
    set_list(&mut agent.model_preferences, model_preferences);
    merge_with(&mut agent.constraints, constraints, merge_constraints);
    merge_with(&mut agent.fallback_behavior, fallback_behavior, merge_fallback);
    merge_with(&mut agent.cache, cache, merge_cache);
    merge_with(&mut agent.pii, pii, merge_pii);
    if !metadata.is_empty() {
        agent.metadata = if metadata == NO_METADATA { String::new() } else { metadata };
    }
    Ok(agent)
}

/// The names of the fields in which two configurations differ.
pub(crate) fn changed_fields(before: &Agent, after: &Agent) -> Vec<&'static str> {
    let Agent {
        agent_id: _,
        embedding_strategy,
        model_preferences,
        constraints,
        fallback_behavior,
        cache,
        pii,
        metadata,
        version: _,
        created_at: _,
        updated_at: _,
    } = after;
    let fields = [
        ("embedding_strategy", before.embedding_strategy != *embedding_strategy),
        ("model_preferences", before.model_preferences != *model_preferences),
        ("constraints", before.constraints != *constraints),
        ("fallback_behavior", before.fallback_behavior != *fallback_behavior),
        ("cache", before.cache != *cache),
        ("pii", before.pii != *pii),
        ("metadata", before.metadata != *metadata),
    ];
    fields.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}

fn merge_constraints(held: &mut Constraints, given: Constraints) {
    let Constraints {
        max_cost_per_day_nano_usd,
        max_cost_per_month_nano_usd,
        max_cost_per_request_nano_usd,
        max_latency_p99_ms,
        max_tokens_per_request,
        preferred_dimensions,
        rate_limits,
    } = given;
    set(&mut held.max_cost_per_day_nano_usd, max_cost_per_day_nano_usd);
    set(&mut held.max_cost_per_month_nano_usd, max_cost_per_month_nano_usd);
    set(&mut held.max_cost_per_request_nano_usd, max_cost_per_request_nano_usd);
    set(&mut held.max_latency_p99_ms, max_latency_p99_ms);
    set(&mut held.max_tokens_per_request, max_tokens_per_request);
    set(&mut held.preferred_dimensions, preferred_dimensions);
    merge_with(&mut held.rate_limits, rate_limits, merge_rate_limits);
}

fn merge_rate_limits(held: &mut RateLimits, given: RateLimits) {
    let RateLimits { requests_per_minute, tokens_per_minute, concurrent_requests } = given;
    set(&mut held.requests_per_minute, requests_per_minute);
    set(&mut held.tokens_per_minute, tokens_per_minute);
    set(&mut held.concurrent_requests, concurrent_requests);
}

fn merge_fallback(held: &mut FallbackBehavior, given: FallbackBehavior) {
    let FallbackBehavior { max_retries, cross_space, use_cache_on_failure, on_budget_exceeded } = given;
    set(&mut held.max_retries, max_retries);
    set(&mut held.cross_space, cross_space);
    set(&mut held.use_cache_on_failure, use_cache_on_failure);
    set(&mut held.on_budget_exceeded, on_budget_exceeded);
}

fn merge_cache(held: &mut CacheSettings, given: CacheSettings) {
    let CacheSettings { enabled, ttl } = given;
    set(&mut held.enabled, enabled);
    set(&mut held.ttl, ttl);
}

fn merge_pii(held: &mut PiiSettings, given: PiiSettings) {
    let PiiSettings { action, entities } = given;
    set(&mut held.action, action);
    set_list(&mut held.entities, entities);
}

fn set<T>(held: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *held = given;
    }
}

fn set_list<T>(held: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *held = given;
    }
}

fn merge_with<T: Default>(held: &mut Option<T>, given: Option<T>, merge: impl FnOnce(&mut T, T)) {
    if let Some(given) = given {
        merge(held.get_or_insert_default(), given);
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::ModelPreference;

    use super::*;

    fn preference(task_type: &str) -> ModelPreference {
        ModelPreference { task_type: task_type.to_owned(), ..ModelPreference::default() }
    }

    #[test]
    fn given_fields_replace_and_absent_ones_stay_at_every_depth() {
        let first = AgentInput {
            agent_id: "a".to_owned(),
            embedding_strategy: Some("cost".to_owned()),
            model_preferences: vec![preference("general_qa"), preference("research")],
            constraints: Some(Constraints {
                max_cost_per_day_nano_usd: Some(5),
                rate_limits: Some(RateLimits { requests_per_minute: Some(60), ..RateLimits::default() }),
                ..Constraints::default()
            }),
            metadata: r#"{"team":"x","n":1}"#.to_owned(),
            ..AgentInput::default()
        };
        let second = AgentInput {
            agent_id: "a".to_owned(),
            model_preferences: vec![preference("multilingual")],
            constraints: Some(Constraints {
                max_cost_per_month_nano_usd: Some(9),
                rate_limits: Some(RateLimits { tokens_per_minute: Some(7), ..RateLimits::default() }),
                ..Constraints::default()
            }),
            pii: Some(PiiSettings { action: Some("reject".to_owned()), entities: vec![] }),
            ..AgentInput::default()
        };
        let before = merge(None, first).unwrap();
        let agent = merge(Some(before.clone()), second).unwrap();
        assert_eq!(changed_fields(&before, &agent), ["model_preferences", "constraints", "pii"]);
        let later = Agent { version: 9, ..agent.clone() };
        assert_eq!(changed_fields(&agent, &later), [""; 0]);
        assert_eq!(agent.embedding_strategy.as_deref(), Some("cost"));
        assert_eq!(agent.model_preferences, [preference("multilingual")]);
        let constraints = agent.constraints.unwrap();
        assert_eq!(constraints.max_cost_per_day_nano_usd, Some(5));
        assert_eq!(constraints.max_cost_per_month_nano_usd, Some(9));
        let limits = constraints.rate_limits.unwrap();
        assert_eq!((limits.requests_per_minute, limits.tokens_per_minute), (Some(60), Some(7)));
        assert_eq!(agent.metadata, r#"{"team":"x","n":1}"#);
        assert_eq!(agent.pii.unwrap().action.as_deref(), Some("reject"));
        assert_eq!(agent.cache, None);
    }
}
