//! How a change of an agent's configuration meets what is there.

use embermesh_proto::v1::{
    Agent, AgentInput, CacheSettings, Constraints, FallbackBehavior, PiiSettings, RateLimits,
};

/// `current` with every field that `input` gives. A list or the metadata is replaced as a whole; what is absent stays.
pub(crate) fn merge(current: Option<Agent>, input: AgentInput) -> Agent {
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
    } = input;
    let mut agent = current.unwrap_or_default();
    agent.agent_id = agent_id;
    set(&mut agent.embedding_strategy, embedding_strategy);
    set_list(&mut agent.model_preferences, model_preferences);
    merge_with(&mut agent.constraints, constraints, merge_constraints);
    merge_with(&mut agent.fallback_behavior, fallback_behavior, merge_fallback);
    merge_with(&mut agent.cache, cache, merge_cache);
    merge_with(&mut agent.pii, pii, merge_pii);
    if !metadata.is_empty() {
        agent.metadata = metadata;
    }
    agent
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
    let FallbackBehavior { max_retries, cross_space, use_cache_on_failure } = given;
    set(&mut held.max_retries, max_retries);
    set(&mut held.cross_space, cross_space);
    set(&mut held.use_cache_on_failure, use_cache_on_failure);
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
        let agent = merge(Some(merge(None, first)), second);
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
