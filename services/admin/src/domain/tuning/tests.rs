use serde_json::json;

use super::*;

fn input(body: Value) -> SettingsInput {
    serde_json::from_value(body).unwrap()
}

fn given(tuning: &Tuning) -> Value {
    json!(by_name(tuning))
}

#[test]
fn given_settings_replace_and_absent_ones_stay() {
    let first = json!({
        "logging": {"level": "warn", "components": {"embedding.router": "debug"}},
        "cache": {"ttl": "1h"},
    });
    let first = merge(&Tuning::default(), 0, input(first)).unwrap();
    let second = json!({
        "version": 1,
        "logging": {"components": {"embedding.store": "trace"}},
        "circuit_breaker": {"failure_threshold": 9},
    });
    let second = merge(&first, 1, input(second)).unwrap();
    assert_eq!(
        given(&second),
        json!({
            "logging.level": "warn",
            "logging.components.embedding.router": "debug",
            "logging.components.embedding.store": "trace",
            "cache.ttl": "1h",
            "circuit_breaker.failure_threshold": 9,
        })
    );
    // nothing given changes nothing
    assert_eq!(merge(&second, 2, SettingsInput::default()).unwrap(), second);
}

#[test]
fn what_is_cleared_goes_back_to_the_file_before_the_given_is_put_in() {
    let held = json!({
        "logging": {"level": "warn", "components": {"embedding.router": "debug", "embedding.store": "trace"}},
        "cache": {"ttl": "1h", "emergency": true},
        "circuit_breaker": {"failure_threshold": 9, "ramp": "1s"},
    });
    let held = merge(&Tuning::default(), 0, input(held)).unwrap();
    let cleared = |body: Value| merge(&held, 0, input(body)).unwrap();
    let next = cleared(json!({"clear": ["cache"], "cache": {"ttl": "2h"}}));
    assert_eq!(given(&next)["cache.ttl"], "2h");
    assert!(given(&next).get("cache.emergency").is_none());
    let next = cleared(json!({"clear": ["logging.components.embedding.store", "logging.level"]}));
    assert_eq!(next.logging.unwrap().components.into_keys().collect::<Vec<_>>(), ["embedding.router"]);
    let all: Vec<String> = by_name(&held).into_keys().collect();
    assert_eq!(cleared(json!({"clear": all})), Tuning::default());
    assert_eq!(cleared(json!({"clear": ["logging", "cache", "circuit_breaker"]})), Tuning::default());
    // a name that is nothing's is refused
    for name in ["cache.tll", "embedding.circuit_breaker", "", "logging.component"] {
        let error = merge(&held, 0, input(json!({"clear": [name]}))).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("clear"), "{name}");
    }
}

#[test]
fn every_setting_of_the_file_can_be_taken_back_by_its_name() {
    let mut config = Config::default();
    config.logging.components.insert("embedding.router".to_owned(), "debug".to_owned());
    let mut tuning = of_file(&config);
    let names: Vec<String> = by_name(&tuning).into_keys().collect();
    assert_eq!(names.len(), 15, "{names:?}");
    clear(&mut tuning, &names).unwrap();
    assert_eq!(over(tuning, Tuning::default()), Tuning::default());
}

#[test]
fn a_change_from_another_version_is_a_conflict() {
    let error = merge(&Tuning::default(), 4, input(json!({"version": 3}))).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("version")));
    assert!(merge(&Tuning::default(), 4, input(json!({"version": 4}))).is_ok());
}
