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
    choose(&wanted, snapshot, &["two".to_owned()], &|m| !down.contains(&m.id.as_str()))
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
