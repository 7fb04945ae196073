use embermesh_proto::v1::{
    AgentInput, CacheSettings, Constraints, FallbackBehavior, ModelPreference, PiiSettings, RateLimits,
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::Value;

use super::*;
use crate::domain::agent::merge;

fn names() -> Vec<String> {
    FIELDS.map(|(name, _)| name.to_owned()).to_vec()
}

/// Every field is set. No `..`: a new field does not compile until it stands here, and then in the table.
fn full() -> Agent {
    Agent {
        agent_id: "docs".to_owned(),
        embedding_strategy: Some("cost".to_owned()),
        model_preferences: vec![ModelPreference { task_type: "x".to_owned(), ..Default::default() }],
        constraints: Some(Constraints {
            max_cost_per_day_nano_usd: Some(1),
            max_cost_per_month_nano_usd: Some(2),
            max_cost_per_request_nano_usd: Some(3),
            max_latency_p99_ms: Some(4),
            max_tokens_per_request: Some(5),
            preferred_dimensions: Some(6),
            rate_limits: Some(RateLimits {
                requests_per_minute: Some(7),
                tokens_per_minute: Some(8),
                concurrent_requests: Some(9),
            }),
        }),
        fallback_behavior: Some(FallbackBehavior {
            max_retries: Some(1),
            cross_space: Some("allow".to_owned()),
            use_cache_on_failure: Some(true),
            on_budget_exceeded: Some("cheaper".to_owned()),
        }),
        cache: Some(CacheSettings { enabled: Some(true), ttl: Some("15m".to_owned()) }),
        pii: Some(PiiSettings { action: Some("redact".to_owned()), entities: vec!["email".to_owned()] }),
        metadata: r#"{"team":"x"}"#.to_owned(),
        version: 3,
        created_at: None,
        updated_at: None,
    }
}

/// The names of all fields of an object, those of its objects behind a point.
fn paths(of: &Value, before: &str, found: &mut Vec<String>) {
    for (name, value) in of.as_object().into_iter().flatten() {
        let path = format!("{before}{name}");
        if name != "metadata" {
            paths(value, &format!("{path}."), found);
        }
        found.push(path);
    }
}

#[test]
fn the_table_names_every_field_as_json_does() {
    let mut all = Vec::new();
    paths(&serde_json::to_value(full()).unwrap(), "", &mut all);
    all.retain(|path| !["agent_id", "version", "created_at", "updated_at"].contains(&path.as_str()));
    all.sort_unstable();
    let mut table = names();
    table.sort_unstable();
    assert_eq!(table, all);
}

#[test]
fn each_name_takes_out_its_field_and_no_other() {
    for name in names() {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut agent = full();
        clear(&mut agent, std::slice::from_ref(&name)).unwrap();
        paths(&given(full()), "", &mut before);
        paths(&given(agent), "", &mut after);
        before.retain(|path| *path != name && !path.starts_with(&format!("{name}.")));
        assert_eq!(after, before, "{name}");
    }
}

/// What is set of an agent, as JSON.
fn given(agent: Agent) -> Value {
    fn without_empty(value: Value) -> Value {
        let Value::Object(fields) = value else { return value };
        let fields = fields.into_iter().map(|(name, value)| (name, without_empty(value)));
        let is_empty = |value: &Value| {
            value.is_null() || value.as_array().is_some_and(Vec::is_empty) || *value == serde_json::json!({})
        };
        Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
    }
    without_empty(serde_json::to_value(agent).unwrap())
}

#[test]
fn a_part_that_nothing_is_left_of_is_absent() {
    let mut agent = full();
    let of_rates = names().into_iter().filter(|name| name.starts_with("constraints.rate_limits."));
    clear(&mut agent, &of_rates.collect::<Vec<_>>()).unwrap();
    assert_eq!(agent.constraints.as_ref().map(|own| own.rate_limits), Some(None));
    let last = ["cache.ttl", "cache.enabled"].map(str::to_owned);
    clear(&mut agent, &last[..1]).unwrap();
    assert!(agent.cache.is_some());
    clear(&mut agent, &last[1..]).unwrap();
    assert_eq!(agent.cache, None);
}

#[test]
fn an_unknown_name_is_refused_with_the_choices() {
    for name in ["", "cach", "Cache", "agent_id", "version", "constraints.max_cost_per_day_nano_usd", "clear"]
    {
        let error = clear(&mut full(), &["cache".to_owned(), name.to_owned()]).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("clear"), "{name}");
        assert!(error.message.contains("constraints.max_cost_per_day, "), "{}", error.message);
    }
}

prop_compose! {
    fn rates()(
        requests_per_minute in option::of(any::<u32>()),
        tokens_per_minute in option::of(any::<u64>()),
        concurrent_requests in option::of(any::<u32>()),
    ) -> RateLimits {
        RateLimits { requests_per_minute, tokens_per_minute, concurrent_requests }
    }
}

prop_compose! {
    fn constraints()(
        amounts in [option::of(0_i64..9), option::of(0_i64..9), option::of(0_i64..9)],
        max_latency_p99_ms in option::of(any::<u32>()),
        max_tokens_per_request in option::of(any::<u64>()),
        preferred_dimensions in option::of(any::<u32>()),
        rate_limits in option::of(rates()),
    ) -> Constraints {
        Constraints {
            max_cost_per_day_nano_usd: amounts[0],
            max_cost_per_month_nano_usd: amounts[1],
            max_cost_per_request_nano_usd: amounts[2],
            max_latency_p99_ms,
            max_tokens_per_request,
            preferred_dimensions,
            rate_limits,
        }
    }
}

prop_compose! {
    fn fallback()(
        max_retries in option::of(any::<u32>()),
        cross_space in option::of("[a-z]{1,3}"),
        use_cache_on_failure in option::of(any::<bool>()),
        on_budget_exceeded in option::of("[a-z]{1,3}"),
    ) -> FallbackBehavior {
        FallbackBehavior { max_retries, cross_space, use_cache_on_failure, on_budget_exceeded }
    }
}

prop_compose! {
    fn any_input()(
        embedding_strategy in option::of("[a-z]{1,3}"),
        tasks in vec("[a-z]{1,3}", 0..3),
        constraints in option::of(constraints()),
        fallback_behavior in option::of(fallback()),
        cache in option::of((option::of(any::<bool>()), option::of("[0-9]{1,3}s"))),
        pii in option::of((option::of("[a-z]{1,3}"), vec("[a-z]{1,3}", 0..3))),
        metadata in "(\\{\"a\":[0-9]\\})?",
    ) -> AgentInput {
        let task = |task_type| ModelPreference { task_type, ..ModelPreference::default() };
        AgentInput {
            agent_id: "docs".to_owned(),
            embedding_strategy,
            model_preferences: tasks.into_iter().map(task).collect(),
            constraints,
            fallback_behavior,
            cache: cache.map(|(enabled, ttl)| CacheSettings { enabled, ttl }),
            pii: pii.map(|(action, entities)| PiiSettings { action, entities }),
            metadata,
            version: None,
            clear: Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn an_agent_without_any_of_its_fields_is_empty(input in any_input(), order in any::<u64>()) {
        let mut agent = merge(None, input).unwrap();
        let mut all = names();
        all.rotate_left(usize::try_from(order % 25).unwrap());
        clear(&mut agent, &all).unwrap();
        prop_assert_eq!(agent, Agent { agent_id: "docs".to_owned(), ..Agent::default() });
    }

    #[test]
    fn to_clear_and_to_give_is_to_give(held in any_input(), given in any_input()) {
        let held = merge(None, held).unwrap();
        let afresh = merge(None, given.clone()).unwrap();
        let cleared = merge(Some(held), AgentInput { clear: names(), ..given }).unwrap();
        prop_assert_eq!(cleared, afresh);
    }

    #[test]
    fn clearing_twice_is_clearing_once(input in any_input(), at in 0_usize..25) {
        let name = [names()[at].clone()];
        let mut once = merge(None, input).unwrap();
        clear(&mut once, &name).unwrap();
        let mut twice = once.clone();
        clear(&mut twice, &name).unwrap();
        prop_assert_eq!(once, twice);
    }
}
