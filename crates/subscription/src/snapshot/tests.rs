use embermesh_auth::{ApiKey, Scopes};

use super::*;

fn tenant(last: u32) -> TenantId {
    format!("0192d5a0-0000-7000-8000-00000000000{last}").parse().unwrap()
}

fn agent(id: &str) -> v1::Agent {
    v1::Agent { agent_id: id.to_owned(), ..v1::Agent::default() }
}

fn runs_on(state: &Snapshot, of: u32, id: &str) -> Option<String> {
    state.agent(tenant(of), &id.parse().unwrap()).map(|agent| agent.agent_id.clone())
}

#[test]
fn an_agent_without_a_configuration_runs_on_that_of_its_tenants_default() {
    let state =
        Snapshot::default().with_agent(tenant(1), agent("docs")).with_agent(tenant(2), agent("default"));
    assert_eq!(runs_on(&state, 1, "docs").as_deref(), Some("docs"));
    assert_eq!(runs_on(&state, 1, "code"), None, "the default is of another tenant");
    assert_eq!(runs_on(&state, 1, "default"), None);
    let state = state.with_agent(tenant(1), agent("default"));
    for (id, of) in [("docs", "docs"), ("code", "default"), ("default", "default")] {
        assert_eq!(runs_on(&state, 1, id).as_deref(), Some(of), "{id}");
    }
    assert_eq!(runs_on(&state, 2, "docs").as_deref(), Some("default"));
    assert_eq!(runs_on(&state, 3, "docs"), None);
}

#[test]
fn a_registered_agent_is_one_with_a_configuration_of_its_own() {
    let mut state =
        Snapshot::default().with_agent(tenant(1), agent("docs")).with_agent(tenant(1), agent("default"));
    let registered =
        |state: &Snapshot, id: &str| state.registered_agent(tenant(1), &id.parse().unwrap()).is_some();
    assert!(registered(&state, "docs") && registered(&state, "default") && !registered(&state, "code"));
    assert_eq!(state.agents_of(tenant(1)).count(), 2);
    state.remove_agent(tenant(1), &"docs".parse().unwrap());
    assert!(!registered(&state, "docs"));
    assert_eq!(runs_on(&state, 1, "docs").as_deref(), Some("default"));
}

fn key(id: &str) -> KeyRecord {
    KeyRecord {
        hash: ApiKey::generate("test", &mut rand::rng()).hash(),
        principal: Principal {
            tenant: tenant(1),
            key: id.parse().unwrap(),
            agent: None,
            scopes: Scopes::default(),
        },
        expires_at: None,
        revoked: false,
        rotation_due: false,
    }
}

#[test]
fn an_unknown_key_is_held_against_a_neighbour() {
    let nearest = |state: &Snapshot, id: &str| {
        state.key_or_neighbour(&id.parse().unwrap()).map(|record| record.principal.key.as_str().to_owned())
    };
    let mut state = Snapshot::default();
    assert_eq!(nearest(&state, "b"), None);
    state = state.with_key(key("b")).with_key(key("d"));
    for (shown, found) in [("a", "b"), ("b", "b"), ("c", "d"), ("d", "d"), ("e", "b")] {
        assert_eq!(nearest(&state, shown).as_deref(), Some(found), "{shown}");
    }
}
