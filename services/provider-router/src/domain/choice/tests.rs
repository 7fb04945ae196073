use embermesh_proto::v1::{Constraints, ModelPreference};

use super::*;

fn tenant() -> TenantId {
    "0192d5a0-0000-7000-8000-000000000001".parse().unwrap()
}

fn model(id: &str) -> CatalogModel {
    CatalogModel {
        id: id.into(),
        family: format!("f/{id}"),
        native_dimensions: 8,
        any_dimensions: true,
        ..CatalogModel::default()
    }
}

fn agent() -> Agent {
    let preference = |task: &str, primary: &str, fallback: &str| ModelPreference {
        task_type: task.into(),
        primary_models: vec![primary.into()],
        fallback_models: vec![fallback.into()],
    };
    Agent {
        agent_id: "a".into(),
        model_preferences: vec![preference("general_qa", "one", "two"), preference("code", "two", "one")],
        constraints: Some(Constraints { preferred_dimensions: Some(4), ..Constraints::default() }),
        ..Agent::default()
    }
}

fn snapshot() -> Snapshot {
    Snapshot::default().with_model(model("one")).with_model(model("two")).with_agent(tenant(), agent())
}

fn pick(task: &str, model: Option<&str>, snapshot: &Snapshot, down: &[&str]) -> Result<Choice, Error> {
    let id: AgentId = "a".parse().unwrap();
    let wanted = Wanted { tenant: tenant(), agent: &id, task_type: task, model, dimensions: None };
    // the last of the alike is the best
    let best = |models: &[Arc<CatalogModel>]| models.len().checked_sub(1);
    choose(&wanted, snapshot, &["two".to_owned()], &|m| !down.contains(&m.id.as_str()), &best)
}

#[test]
fn primaries_come_before_fallbacks_and_the_task_type_decides() {
    assert_eq!(pick("general_qa", None, &snapshot(), &[]).unwrap().space.as_str(), "f/one@4");
    assert_eq!(pick("code", None, &snapshot(), &[]).unwrap().space.as_str(), "f/two@4");
    assert_eq!(pick("unheard_of", None, &snapshot(), &[]).unwrap().model.id, "one");
    assert_eq!(pick("general_qa", None, &snapshot(), &["one"]).unwrap().model.id, "two");
    let error = pick("general_qa", None, &snapshot(), &["one", "two"]).unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}

#[test]
fn spaces_never_mix_a_pin_outlives_an_outage_and_a_preference() {
    let id: AgentId = "a".parse().unwrap();
    let pin = Pinned { space: "f/two@8".parse().unwrap(), model: "two".into() };
    let pinned = snapshot().with_pin(tenant(), id, "general_qa", pin);
    for down in [&[][..], &["two"]] {
        let choice = pick("general_qa", None, &pinned, down).unwrap();
        assert_eq!((choice.space.as_str(), choice.unpinned), ("f/two@8", false));
    }
}

#[test]
fn a_length_in_the_request_does_not_keep_an_agent_from_a_space_of_its_own() {
    let id: AgentId = "a".parse().unwrap();
    let wanted =
        Wanted { tenant: tenant(), agent: &id, task_type: "general_qa", model: None, dimensions: Some(2) };
    let ask = |snapshot: &Snapshot| choose(&wanted, snapshot, &[], &|_| true, &|_| Some(0)).unwrap();
    let first = ask(&snapshot());
    assert_eq!((first.space.as_str(), first.unpinned), ("f/one@2", true));
    let pin = Pinned { space: "f/two@8".parse().unwrap(), model: "two".into() };
    let then = ask(&snapshot().with_pin(tenant(), id.clone(), "general_qa", pin));
    assert_eq!((then.space.as_str(), then.unpinned), ("f/two@2", false));
}

#[test]
fn a_named_model_is_that_model_or_an_error() {
    let choice = pick("general_qa", Some("two"), &snapshot(), &["two"]).unwrap();
    assert_eq!((choice.space.as_str(), choice.unpinned), ("f/two@8", false));
    assert_eq!(pick("general_qa", Some("three"), &snapshot(), &[]).unwrap_err().code, Code::NotFound);
}

#[test]
fn an_agent_without_configuration_runs_on_the_defaults() {
    let bare = Snapshot::default().with_model(model("one")).with_model(model("two"));
    let choice = pick("general_qa", None, &bare, &[]).unwrap();
    assert_eq!((choice.space.as_str(), choice.unpinned), ("f/two@8", true));
}

#[test]
fn primaries_are_ranked_and_defaults_are_taken_in_their_order() {
    let mut several = agent();
    several.model_preferences[0].primary_models.push("two".into());
    let ranked = snapshot().with_agent(tenant(), several);
    assert_eq!(pick("general_qa", None, &ranked, &[]).unwrap().model.id, "two");
    let bare = Snapshot::default().with_model(model("one")).with_model(model("two"));
    let id: AgentId = "a".parse().unwrap();
    let wanted = Wanted { tenant: tenant(), agent: &id, task_type: "x", model: None, dimensions: None };
    let defaults = ["one".to_owned(), "two".to_owned()];
    let choice = choose(&wanted, &bare, &defaults, &|_| true, &|models| models.len().checked_sub(1)).unwrap();
    assert_eq!(choice.model.id, "one");
}

#[test]
fn what_may_answer_while_the_space_is_down_is_another_space_of_the_agents_models() {
    let choice = pick("general_qa", None, &snapshot(), &["two"]).unwrap();
    let others = |down: &str| {
        let snapshot = snapshot();
        let agent = agent();
        fallbacks(tenant(), &choice, None, Some(&agent), "general_qa", &snapshot, &|m| m.id != down)
    };
    let ids: Vec<String> = others("").into_iter().map(|choice| choice.space.to_string()).collect();
    assert_eq!(ids, ["f/two@8"]);
    assert!(others("two").is_empty());
    let of_length = |length| {
        let (snapshot, agent) = (snapshot(), agent());
        fallbacks(tenant(), &choice, Some(length), Some(&agent), "general_qa", &snapshot, &|_| true)
    };
    assert_eq!(of_length(3)[0].space.as_str(), "f/two@3");
    assert!(of_length(9).is_empty(), "a fallback gives the length that was asked for, or none");
}

fn allowed(snapshot: Snapshot, models: &[&str]) -> Snapshot {
    snapshot.with_tenant(embermesh_subscription::TenantEntry {
        tenant_id: tenant().to_string(),
        allowed_models: models.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    })
}

#[test]
fn what_the_tenant_may_not_use_is_refused_where_it_is_asked_for_and_skipped_where_it_is_preferred() {
    let narrow = allowed(snapshot(), &["two"]);
    let refused = |model| {
        let error = pick("general_qa", model, &narrow, &[]).unwrap_err();
        (error.code, error.param)
    };
    assert_eq!(refused(Some("one")), (Code::Forbidden, Some("model".to_owned())));
    assert_eq!(pick("general_qa", Some("two"), &narrow, &[]).unwrap().model.id, "two");
    // the primary is skipped, the fallback serves
    assert_eq!(pick("general_qa", None, &narrow, &[]).unwrap().model.id, "two");
    let choice = pick("general_qa", None, &narrow, &[]).unwrap();
    assert!(fallbacks(tenant(), &choice, None, Some(&agent()), "general_qa", &narrow, &|_| true).is_empty());
    // an outage of what is left is an outage, nothing left is a refusal
    assert_eq!(pick("general_qa", None, &narrow, &["two"]).unwrap_err().code, Code::Unavailable);
    let none = allowed(snapshot(), &["three"]);
    let error = pick("general_qa", None, &none, &[]).unwrap_err();
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("one, two"), "{error}");
}

#[test]
fn a_pin_to_what_the_tenant_may_not_use_any_more_is_no_reason_to_mix_spaces() {
    let id: AgentId = "a".parse().unwrap();
    let pin = Pinned { space: "f/one@8".parse().unwrap(), model: "one".into() };
    let pinned = allowed(snapshot().with_pin(tenant(), id, "general_qa", pin), &["two"]);
    let error = pick("general_qa", None, &pinned, &[]).unwrap_err();
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("'one'"), "{error}");
    // named, another model is another space
    assert_eq!(pick("general_qa", Some("two"), &pinned, &[]).unwrap().space.as_str(), "f/two@8");
}
