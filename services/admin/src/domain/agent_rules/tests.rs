use super::*;

fn check_json(json: &str) -> Result<(), Error> {
    let models: HashSet<String> = ["small", "large"].map(str::to_owned).into();
    let entities = ["employee_number".to_owned()];
    let agent: Agent = serde_json::from_str(json).unwrap();
    check(&agent, &Known { models: &models, entities: &entities })
}

#[test]
fn a_full_configuration_passes() {
    let json = r#"{
        "agent_id": "docs",
        "embedding_strategy": "smart",
        "model_preferences": [
            {"task_type": "general_qa", "primary_models": ["small"], "fallback_models": ["large"]},
            {"task_type": "research", "primary_models": ["large"]}
        ],
        "constraints": {
            "max_cost_per_day": 0, "max_cost_per_month": 150.0, "max_cost_per_request": 0.00000002,
            "max_latency_p99_ms": 500, "max_tokens_per_request": 8000, "preferred_dimensions": 1536,
            "rate_limits": {"requests_per_minute": 1, "tokens_per_minute": 1, "concurrent_requests": 1}
        },
        "fallback_behavior": {"max_retries": 0, "cross_space": "allow", "use_cache_on_failure": true, "on_budget_exceeded": "cheaper"},
        "cache": {"enabled": true, "ttl": "1h 30m"},
        "pii": {"action": "reject", "entities": ["email", "ssn", "employee_number"]},
        "metadata": {"team": "x"}
    }"#;
    check_json(json).unwrap();
    check_json(r#"{"agent_id": "bare"}"#).unwrap();
}

#[test]
fn every_named_choice_passes() {
    for strategy in ["smart", "balanced", "quality", "speed", "cost"] {
        for cross_space in ["never", "allow"] {
            let json = format!(
                r#"{{"agent_id": "a", "embedding_strategy": "{strategy}", "fallback_behavior": {{"cross_space": "{cross_space}"}}}}"#
            );
            check_json(&json).unwrap();
        }
    }
    for choice in ["refuse", "cheaper"] {
        let json =
            format!(r#"{{"agent_id": "a", "fallback_behavior": {{"on_budget_exceeded": "{choice}"}}}}"#);
        check_json(&json).unwrap();
    }
}

#[test]
fn every_refusal_names_its_field() {
    for (param, json) in [
        ("agent_id", r#"{"agent_id": "a b"}"#),
        ("agent_id", r#"{"agent_id": "other"}"#),
        ("embedding_strategy", r#"{"agent_id": "a", "embedding_strategy": "cheap"}"#),
        (
            "model_preferences[0].task_type",
            r#"{"agent_id": "a", "model_preferences": [{"task_type": "", "primary_models": ["small"]}]}"#,
        ),
        (
            "model_preferences[1].task_type",
            r#"{"agent_id": "a", "model_preferences": [
                {"task_type": "x", "primary_models": ["small"]}, {"task_type": "x", "primary_models": ["small"]}]}"#,
        ),
        (
            "model_preferences[0].primary_models",
            r#"{"agent_id": "a", "model_preferences": [{"task_type": "x"}]}"#,
        ),
        (
            "model_preferences[0].primary_models[1]",
            r#"{"agent_id": "a", "model_preferences": [{"task_type": "x", "primary_models": ["small", "tiny"]}]}"#,
        ),
        (
            "model_preferences[0].fallback_models[0]",
            r#"{"agent_id": "a", "model_preferences": [
                {"task_type": "x", "primary_models": ["small"], "fallback_models": ["small"]}]}"#,
        ),
        ("constraints.max_cost_per_day", r#"{"agent_id": "a", "constraints": {"max_cost_per_day": -0.01}}"#),
        ("constraints.max_cost_per_month", r#"{"agent_id": "a", "constraints": {"max_cost_per_month": -1}}"#),
        (
            "constraints.max_cost_per_request",
            r#"{"agent_id": "a", "constraints": {"max_cost_per_request": -1}}"#,
        ),
        ("constraints.max_latency_p99_ms", r#"{"agent_id": "a", "constraints": {"max_latency_p99_ms": 0}}"#),
        (
            "constraints.max_tokens_per_request",
            r#"{"agent_id": "a", "constraints": {"max_tokens_per_request": 0}}"#,
        ),
        (
            "constraints.preferred_dimensions",
            r#"{"agent_id": "a", "constraints": {"preferred_dimensions": 0}}"#,
        ),
        (
            "constraints.preferred_dimensions",
            r#"{"agent_id": "a", "constraints": {"preferred_dimensions": 16001}}"#,
        ),
        (
            "constraints.rate_limits.tokens_per_minute",
            r#"{"agent_id": "a", "constraints": {"rate_limits": {"tokens_per_minute": 0}}}"#,
        ),
        (
            "constraints.rate_limits.requests_per_minute",
            r#"{"agent_id": "a", "constraints": {"rate_limits": {"requests_per_minute": 0}}}"#,
        ),
        (
            "constraints.rate_limits.concurrent_requests",
            r#"{"agent_id": "a", "constraints": {"rate_limits": {"concurrent_requests": 0}}}"#,
        ),
        ("fallback_behavior.max_retries", r#"{"agent_id": "a", "fallback_behavior": {"max_retries": 11}}"#),
        (
            "fallback_behavior.cross_space",
            r#"{"agent_id": "a", "fallback_behavior": {"cross_space": "maybe"}}"#,
        ),
        (
            "fallback_behavior.on_budget_exceeded",
            r#"{"agent_id": "a", "fallback_behavior": {"on_budget_exceeded": "ignore"}}"#,
        ),
        ("cache.ttl", r#"{"agent_id": "a", "cache": {"ttl": "soon"}}"#),
        ("cache.ttl", r#"{"agent_id": "a", "cache": {"ttl": "0s"}}"#),
        ("pii.action", r#"{"agent_id": "a", "pii": {"action": "hide"}}"#),
        ("pii.entities[1]", r#"{"agent_id": "a", "pii": {"entities": ["email", "emial"]}}"#),
    ] {
        let error = check_json(json).expect_err(json);
        assert_eq!(error.param.as_deref(), Some(param), "{json}: {error}");
    }
}

#[test]
fn metadata_is_an_object_of_bounded_size() {
    let with = |metadata: String| Agent { agent_id: "a".to_owned(), metadata, ..Agent::default() };
    let known = Known { models: &HashSet::new(), entities: &[] };
    assert!(check(&with(r#"{"a": [1, {"b": null}]}"#.to_owned()), &known).is_ok());
    for bad in ["[]", "1", "{", "{}{}", &format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_METADATA))] {
        let error = check(&with(bad.to_owned()), &known).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("metadata"));
    }
}
