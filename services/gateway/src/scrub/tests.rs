use super::*;

fn scrubbing(action: Action) -> Scrubbing {
    Scrubbing::new(Policy::built_in(action), &Metrics::default()).unwrap()
}

fn agent(action: Option<&str>, entities: &[&str]) -> v1::Agent {
    let entities = entities.iter().map(|entity| (*entity).to_owned()).collect();
    v1::Agent {
        pii: Some(v1::PiiSettings { action: action.map(str::to_owned), entities }),
        ..Default::default()
    }
}

fn object(text: &str) -> JsonObject {
    JsonObject::parse("metadata", text, 10_000).unwrap().unwrap()
}

#[test]
fn an_agents_settings_go_over_the_gateways_policy() {
    let scrubbing = scrubbing(Action::Redact);
    let text = "joe@example.com, card 4111 1111 1111 1111";
    let scrubbed = |agent: Option<&v1::Agent>| {
        let scrubber = scrubbing.of(None, agent).unwrap();
        let mut tally = Tally::default();
        let text = scrubber.text("text", text, &mut tally).map(Cow::into_owned);
        (text, scrubber.report(tally))
    };
    let (text_default, report) = scrubbed(None);
    assert_eq!(text_default.unwrap(), "[EMAIL], card [CREDIT_CARD]");
    assert_eq!(report.action, "redact");
    assert_eq!(report.counts, [("credit_card".to_owned(), 1), ("email".to_owned(), 1)].into());

    assert_eq!(scrubbed(Some(&agent(None, &["email"]))).0.unwrap(), "[EMAIL], card 4111 1111 1111 1111");
    assert_eq!(scrubbed(Some(&agent(Some("off"), &[]))).0.unwrap(), text);
    let (detected, detect_report) = scrubbed(Some(&agent(Some("detect"), &[])));
    assert_eq!((detected.unwrap().as_str(), detect_report.counts), (text, report.counts.clone()));
    assert_ne!(detect_report.policy_version, report.policy_version);
    assert_eq!(scrubbed(Some(&agent(None, &[]))).1, report, "empty settings are the gateway's own");
}

#[test]
fn a_rejection_names_kinds_and_offsets_and_no_value() {
    let scrubbing = scrubbing(Action::Reject);
    let scrubber = scrubbing.of(None, None).unwrap();
    let error = scrubber.text("text", "mail joe@example.com", &mut Tally::default()).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("text")));
    assert_eq!(
        Value::Object(error.details.clone()),
        json!({"findings": [{"entity": "email", "start": 5, "end": 20}], "count": 1})
    );
    assert!(!format!("{error:?}").contains("joe"), "{error:?}");
    assert_eq!(scrubbing.detections.of("email", "reject"), 1);
}

#[test]
fn settings_that_cannot_be_enforced_let_no_text_through() {
    let scrubbing = scrubbing(Action::Off);
    for bad in [agent(Some("mask"), &[]), agent(None, &["E-Mail"]), agent(None, &["iban"])] {
        assert_eq!(scrubbing.of(None, Some(&bad)).unwrap_err().code, Code::Internal);
    }
}

#[test]
fn metadata_values_are_scrubbed_and_nothing_else_changes() {
    let scrubbing = scrubbing(Action::Redact);
    let scrubber = scrubbing.of(None, None).unwrap();
    let mut tally = Tally::default();
    let metadata = object(r#"{"n":1.0, "who":["joe\u0040example.com"], "t":"x"}"#);
    let clean = scrubber.metadata(metadata, &mut tally).unwrap();
    assert_eq!(clean.as_str(), r#"{"n":1.0, "who":["[EMAIL]"], "t":"x"}"#);
    assert_eq!(tally.into_counts(), [("email".to_owned(), 1)].into());

    let mut of_numbers = Tally::default();
    let numbers = object(r#"{"card":4111111111111111,"at":[1795348800,1795348800123,-0.5],"big":1e300}"#);
    let clean = scrubber.metadata(numbers.clone(), &mut of_numbers).unwrap();
    assert_eq!(
        clean.as_str(),
        r#"{"card":"[CREDIT_CARD]","at":[1795348800,1795348800123,-0.5],"big":1e300}"#
    );
    assert_eq!(of_numbers.into_counts(), [("credit_card".to_owned(), 1)].into());
    let detect = agent(Some("detect"), &[]);
    let mut detected = Tally::default();
    let kept = scrubbing.of(None, Some(&detect)).unwrap().metadata(numbers.clone(), &mut detected).unwrap();
    assert_eq!((kept, detected.into_counts()), (numbers.clone(), [("credit_card".to_owned(), 1)].into()));
    let reject = agent(Some("reject"), &[]);
    let error =
        scrubbing.of(None, Some(&reject)).unwrap().metadata(numbers, &mut Tally::default()).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("metadata")));

    let error = scrubber.metadata(object(r#"{"joe@example.com":1}"#), &mut Tally::default()).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("metadata")));
}

#[test]
fn a_number_in_metadata_is_known_by_the_name_of_its_member() {
    let scrubbing = scrubbing(Action::Redact);
    let scrubber = scrubbing.of(None, None).unwrap();
    let clean = |json: &str| {
        let mut tally = Tally::default();
        let clean = scrubber.metadata(object(json), &mut tally).unwrap();
        (clean.as_str().to_owned(), tally.into_counts().values().sum::<u32>())
    };
    let redacted = r#"{"phone":"[PHONE]","mobile":"[PHONE]","ssn":"[SSN]","x":{"fax":["[PHONE]"]},"n":1}"#;
    let given =
        r#"{"phone":"4155550132","mobile":4155550132,"ssn":"536221234","x":{"fax":["4155550132"]},"n":1}"#;
    assert_eq!(clean(given), (redacted.to_owned(), 4));
    // the name around: operators of filters stand between
    assert_eq!(clean(r#"{"phone":{"in":["4155550132"]}}"#).1, 1);
    for other in [
        r#"{"order_id":4155550132,"qty":4155550132,"a":{"phone":null},"b":"4155550132"}"#,
        r#"{"phone":[],"next":"4155550132"}"#,
        r#"{"at":1795348800,"phone":"call me"}"#,
    ] {
        assert_eq!(clean(other), (other.to_owned(), 0));
    }
    let detect = agent(Some("detect"), &[]);
    let mut detected = Tally::default();
    let seen = object(r#"{"phone":"4155550132"}"#);
    let kept = scrubbing.of(None, Some(&detect)).unwrap().metadata(seen.clone(), &mut detected).unwrap();
    assert_eq!((kept, detected.into_counts()), (seen.clone(), [("phone".to_owned(), 1)].into()));
    let reject = agent(Some("reject"), &[]);
    let refused = scrubbing.of(None, Some(&reject)).unwrap().metadata(seen.clone(), &mut Tally::default());
    let shown = refused.unwrap_err().details["findings"][0].clone();
    assert_eq!((&shown["start"], &shown["end"]), (&0.into(), &10.into()));
    let filter = scrubber.filter(&seen, &mut Tally::default()).unwrap_err();
    assert_eq!((filter.code, filter.param.as_deref()), (Code::PiiRejected, Some("metadata_filter")));
}

#[test]
fn a_name_that_holds_personal_data_is_refused_and_never_redacted() {
    let scrubbing = scrubbing(Action::Redact);
    let name = |action: &str, text: &str| {
        let agent = agent(Some(action), &[]);
        let mut tally = Tally::default();
        let outcome = scrubbing.of(None, Some(&agent)).unwrap().name("context_id", text, &mut tally);
        (outcome.map_err(|error| (error.code, error.param)), tally.into_counts().len())
    };
    let refused = Err((Code::PiiRejected, Some("context_id".to_owned())));
    assert_eq!(name("redact", "joe@example.com"), (refused.clone(), 1));
    assert_eq!(name("reject", "joe@example.com"), (refused, 1));
    assert_eq!(name("detect", "joe@example.com"), (Ok(()), 1));
    assert_eq!(name("off", "joe@example.com"), (Ok(()), 0));
    assert_eq!(name("redact", "chat-0192d5a0-0000-7000-8000-000000000001"), (Ok(()), 0));
}

#[test]
fn a_filter_on_personal_data_is_refused_and_never_widened() {
    let scrubbing = scrubbing(Action::Redact);
    let filter = object(r#"{"who":"joe@example.com"}"#);
    let error = scrubbing.of(None, None).unwrap().filter(&filter, &mut Tally::default()).unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("metadata_filter")));
    let off = agent(Some("off"), &[]);
    scrubbing.of(None, Some(&off)).unwrap().filter(&filter, &mut Tally::default()).unwrap();
}

#[test]
fn a_tenants_policy_stands_between_the_installations_and_the_agents() {
    let installation: embermesh_pii::PiiConfig =
        serde_json::from_str(r#"{"patterns": [{"staff": "S[0-9]{3}"}]}"#).unwrap();
    let scrubbing = Scrubbing::new(installation.try_into().unwrap(), &Metrics::default()).unwrap();
    let policy = |text: &str| Arc::new(serde_json::from_str::<v1::PiiPolicy>(text).unwrap());
    let own = policy(
        r#"{"enabled":true,"action":"redact","patterns":[{"badge":"B[0-9]{3}"}],"actions":{"email":"detect"}}"#,
    );
    let scrubbed = |policy: Option<&Arc<v1::PiiPolicy>>, agent: Option<&v1::Agent>| {
        let scrubber = scrubbing.of(policy, agent).unwrap();
        let mut tally = Tally::default();
        let text = scrubber.text("text", "S123 B456 joe@example.com", &mut tally).map(Cow::into_owned);
        (text.unwrap(), scrubber.report(tally).policy_version)
    };
    let (by_installation, version) = scrubbed(None, None);
    assert_eq!(by_installation, "[STAFF] B456 [EMAIL]");
    let (by_tenant, other_version) = scrubbed(Some(&own), None);
    assert_eq!(by_tenant, "[STAFF] [BADGE] joe@example.com");
    assert_ne!(version, other_version, "vectors under another policy are told apart");
    assert_eq!(scrubbed(Some(&own), Some(&agent(None, &["badge"]))).0, "S123 [BADGE] joe@example.com");
    assert_eq!(scrubbed(Some(&own), Some(&agent(Some("off"), &[]))).0, "S123 B456 joe@example.com");
    // a change is seen, and what was there before is not mixed up with it
    let changed = policy(r#"{"enabled":true,"action":"redact","entities":["email"]}"#);
    assert_eq!(scrubbed(Some(&changed), None).0, "S123 B456 [EMAIL]");
    assert_eq!(scrubbed(Some(&own), None).1, other_version);
    assert_eq!(
        scrubbed(Some(&policy(r#"{"enabled":false,"action":"redact"}"#)), None).0,
        "S123 B456 joe@example.com"
    );
    // one that cannot be enforced lets no text through
    for bad in
        [r#"{"enabled":true,"action":"mask"}"#, r#"{"enabled":true,"action":"off","patterns":[{"x":"("}]}"#]
    {
        assert_eq!(scrubbing.of(Some(&policy(bad)), None).unwrap_err().code, Code::Internal, "{bad}");
    }
}
