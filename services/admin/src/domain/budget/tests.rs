use super::*;

fn create(json: &str) -> Result<NewBudget, Error> {
    NewBudget::parse(serde_json::from_str(json).unwrap())
}

#[test]
fn every_scope_and_period_passes_and_alerts_have_a_default() {
    for (scope, subject) in
        [("tenant", ""), ("agent", "team.a:docs"), ("key", "aB3dE6gH9jK2"), ("provider", "azure east")]
    {
        for period in ["day", "month", "request"] {
            let json = format!(
                r#"{{"scope": "{scope}", "subject": "{subject}", "period": "{period}", "limit_usd": 0.000000001}}"#
            );
            let new = create(&json).unwrap();
            assert_eq!((new.scope, new.subject.as_str(), new.period), (scope, subject, period));
            assert_eq!((new.limit_nano_usd, new.alert_percents), (1, vec![50, 80, 100]));
        }
    }
    let new = create(r#"{"scope": "tenant", "period": "day", "limit_usd": 0, "alert_percents": [1, 100]}"#);
    assert_eq!(new.unwrap().alert_percents, [1, 100]);
}

#[test]
fn every_refusal_names_its_field() {
    let eleven = r#"{"scope": "tenant", "period": "day", "limit_usd": 1, "alert_percents": [1,2,3,4,5,6,7,8,9,10,11]}"#;
    for (param, json) in [
        ("scope", r#"{"period": "day", "limit_usd": 1}"#),
        ("scope", r#"{"scope": "Agent", "subject": "a", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "tenant", "subject": "a", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "agent", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "agent", "subject": "a b", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "agent", "subject": "other", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "key", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "key", "subject": "emb key", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "provider", "subject": "a\u0000b", "period": "day", "limit_usd": 1}"#),
        ("subject", r#"{"scope": "provider", "subject": " ", "period": "day", "limit_usd": 1}"#),
        ("period", r#"{"scope": "tenant", "limit_usd": 1}"#),
        ("period", r#"{"scope": "tenant", "period": "hour", "limit_usd": 1}"#),
        ("limit_usd", r#"{"scope": "tenant", "period": "day"}"#),
        ("limit_usd", r#"{"scope": "tenant", "period": "day", "limit_usd": -0.000000001}"#),
        ("alert_percents", r#"{"scope": "tenant", "period": "day", "limit_usd": 1, "alert_percents": [0]}"#),
        (
            "alert_percents",
            r#"{"scope": "tenant", "period": "day", "limit_usd": 1, "alert_percents": [101]}"#,
        ),
        (
            "alert_percents",
            r#"{"scope": "tenant", "period": "day", "limit_usd": 1, "alert_percents": [80, 50]}"#,
        ),
        (
            "alert_percents",
            r#"{"scope": "tenant", "period": "day", "limit_usd": 1, "alert_percents": [50, 50]}"#,
        ),
        ("alert_percents", eleven),
    ] {
        let error = create(json).expect_err(json);
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{json}: {error}");
    }
}

#[test]
fn a_change_replaces_what_it_gives_and_nothing_else() {
    let current = BudgetRule {
        scope: "agent".to_owned(),
        subject: "docs".to_owned(),
        limit_nano_usd: 5,
        alert_percents: vec![50, 80, 100],
        version: 3,
        ..BudgetRule::default()
    };
    let none = UpdateBudgetRequest::default();
    assert_eq!(merge(&current, &none).unwrap(), current);
    let limit = UpdateBudgetRequest { limit_nano_usd: Some(0), version: Some(3), ..none.clone() };
    assert_eq!(merge(&current, &limit).unwrap(), BudgetRule { limit_nano_usd: 0, ..current.clone() });
    let alerts = UpdateBudgetRequest { alert_percents: vec![90], ..none.clone() };
    assert_eq!(merge(&current, &alerts).unwrap(), BudgetRule { alert_percents: vec![90], ..current.clone() });

    let stale = UpdateBudgetRequest { limit_nano_usd: Some(9), version: Some(2), ..none.clone() };
    let error = merge(&current, &stale).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("version")));
    assert_eq!(error.details["current_version"], 3);
    let negative = UpdateBudgetRequest { limit_nano_usd: Some(-1), ..none.clone() };
    assert_eq!(merge(&current, &negative).unwrap_err().param.as_deref(), Some("limit_usd"));
    let unsorted = UpdateBudgetRequest { alert_percents: vec![2, 1], ..none };
    assert_eq!(merge(&current, &unsorted).unwrap_err().param.as_deref(), Some("alert_percents"));
}
