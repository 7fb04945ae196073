use super::*;

const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

fn agent_id() -> AgentId {
    "docs".parse().unwrap()
}

fn key_entry_of(id: &str) -> KeyEntry {
    KeyEntry {
        id: id.to_owned(),
        tenant_id: TENANT.to_owned(),
        hash: vec![7; 32].into(),
        scopes: vec!["embed".to_owned()],
        agent_id: "docs".to_owned(),
        expires_at: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 5 }),
        revoked: false,
    }
}

fn put_of(value: Value) -> ConfigEntry {
    ConfigEntry { removed: false, value: Some(value) }
}

fn removed(value: Value) -> ConfigEntry {
    ConfigEntry { removed: true, value: Some(value) }
}

fn model(dimensions: u32) -> v1::CatalogModel {
    v1::CatalogModel {
        id: "small".to_owned(),
        family: "local/small".to_owned(),
        native_dimensions: dimensions,
        ..v1::CatalogModel::default()
    }
}

fn agent(version: i64) -> AgentEntry {
    let agent = v1::Agent { agent_id: "docs".to_owned(), version, ..v1::Agent::default() };
    AgentEntry { tenant_id: TENANT.to_owned(), agent: Some(agent) }
}

fn pin(space: &str) -> Pin {
    Pin {
        tenant_id: TENANT.to_owned(),
        agent_id: "docs".to_owned(),
        task_type: "research".to_owned(),
        space_id: space.to_owned(),
        model: "small".to_owned(),
    }
}

fn update(version: i64, snapshot: bool, entries: Vec<ConfigEntry>) -> ConfigUpdate {
    ConfigUpdate { version, snapshot, entries }
}

pub(crate) fn full_snapshot() -> Snapshot {
    let entries = vec![
        put_of(Value::Key(key_entry_of("k1"))),
        put_of(Value::Agent(agent(1))),
        put_of(Value::Model(model(384))),
        put_of(Value::Pin(pin("local/small@384"))),
    ];
    apply(&Snapshot::default(), update(3, true, entries)).unwrap()
}

#[test]
fn a_snapshot_holds_what_was_sent() {
    let state = full_snapshot();
    let key = state.key(&"k1".parse().unwrap()).unwrap();
    assert_eq!(key.principal.tenant, tenant());
    assert_eq!(key.principal.agent, Some(agent_id()));
    assert_eq!(key.expires_at, Some(SystemTime::UNIX_EPOCH + Duration::new(1_900_000_000, 5)));
    assert_eq!(state.agent(tenant(), &agent_id()).unwrap().version, 1);
    assert_eq!(state.models().count(), 1);
    let pinned = state.pin(tenant(), &agent_id(), "research").unwrap();
    assert_eq!(pinned.space.as_str(), "local/small@384");
    assert!(state.pin(tenant(), &agent_id(), "code_analysis").is_none());
    let other: TenantId = "0192d5a0-0000-7000-8000-000000000002".parse().unwrap();
    assert!(state.agent(other, &agent_id()).is_none());
}

#[test]
fn a_change_touches_only_what_it_names_and_leaves_readers_alone() {
    let before = full_snapshot();
    let after = apply(&before, update(4, false, vec![put_of(Value::Agent(agent(2)))])).unwrap();
    assert_eq!(before.agent(tenant(), &agent_id()).unwrap().version, 1);
    assert_eq!(after.agent(tenant(), &agent_id()).unwrap().version, 2);
    assert!(after.key(&"k1".parse().unwrap()).is_some());
}

#[test]
fn removals_remove() {
    let entries = vec![
        removed(Value::Key(KeyEntry { id: "k1".to_owned(), ..KeyEntry::default() })),
        removed(Value::Agent(agent(0))),
        removed(Value::Model(v1::CatalogModel { id: "small".to_owned(), ..v1::CatalogModel::default() })),
        removed(Value::Pin(Pin { space_id: String::new(), ..pin("") })),
    ];
    let empty = apply(&full_snapshot(), update(4, false, entries)).unwrap();
    assert!(empty.key(&"k1".parse().unwrap()).is_none());
    assert!(empty.agent(tenant(), &agent_id()).is_none());
    assert_eq!(empty.models().count(), 0);
    assert!(empty.pin(tenant(), &agent_id(), "research").is_none());
}

#[test]
fn an_old_change_is_dropped_and_a_snapshot_never_is() {
    let state = full_snapshot();
    for version in [2, 3] {
        assert!(apply(&state, update(version, false, vec![put_of(Value::Agent(agent(9)))])).is_none());
    }
    let restored = apply(&state, update(1, true, vec![])).unwrap();
    assert_eq!((restored.version, restored.models().count()), (1, 0));
}

#[test]
fn a_bad_entry_is_skipped_and_the_old_one_stays() {
    let state = full_snapshot();
    let bad = || {
        vec![
            put_of(Value::Key(KeyEntry { hash: vec![1; 31].into(), ..key_entry_of("k1") })),
            put_of(Value::Key(KeyEntry { scopes: vec!["root".to_owned()], ..key_entry_of("k2") })),
            put_of(Value::Agent(AgentEntry { tenant_id: "x".to_owned(), ..agent(5) })),
            put_of(Value::Model(model(0))),
            put_of(Value::Pin(pin("no space"))),
            ConfigEntry { removed: false, value: None },
        ]
    };
    for snapshot in [false, true] {
        let mut entries = bad();
        entries.push(put_of(Value::Key(key_entry_of("k3"))));
        let next = apply(&state, update(4, snapshot, entries)).unwrap();
        assert_eq!(next.key(&"k1".parse().unwrap()), state.key(&"k1".parse().unwrap()));
        assert!(next.key(&"k2".parse().unwrap()).is_none());
        assert!(next.key(&"k3".parse().unwrap()).is_some());
        assert_eq!(next.model("small").unwrap().native_dimensions, 384);
        assert!(next.pin(tenant(), &agent_id(), "research").is_some());
        // the entry could not be told to be this agent's
        assert_eq!(next.agent(tenant(), &agent_id()).is_some(), !snapshot);
    }
}

#[test]
fn a_state_survives_its_message() {
    let state = full_snapshot();
    assert_eq!(apply(&Snapshot::default(), to_update(&state)), Some(state));
}
