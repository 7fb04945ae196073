use embermesh_proto::internal::v1::{BreakerOrder as BreakerOrderMessage, Reference, SettingsEntry};

use super::*;
use crate::BreakerAction;

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
        rotation_due: true,
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

fn space() -> SpaceId {
    "local/small@2".parse().unwrap()
}

fn reference(numbers: &[f32]) -> Reference {
    let vector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Reference {
        space_id: space().to_string(),
        texts_version: "1".to_owned(),
        vectors: vec![vector.into()],
        deployment: "own/small".to_owned(),
    }
}

fn order(action: &str, number: i64) -> BreakerOrderMessage {
    BreakerOrderMessage { deployment: "own/small".to_owned(), action: action.to_owned(), number }
}

fn budget(id: &str, limit: i64) -> BudgetEntry {
    let budget = v1::BudgetRule {
        id: id.to_owned(),
        scope: "agent".to_owned(),
        subject: "docs".to_owned(),
        period: "day".to_owned(),
        limit_nano_usd: limit,
        ..v1::BudgetRule::default()
    };
    BudgetEntry { tenant_id: TENANT.to_owned(), budget: Some(budget) }
}

fn settings(ttl: &str, failure_threshold: u32) -> SettingsEntry {
    let given = v1::Tuning {
        logging: Some(v1::LogTuning {
            level: Some("debug".to_owned()),
            components: [("embedding.router".to_owned(), "trace".to_owned())].into(),
        }),
        cache: Some(v1::CacheTuning { ttl: Some(ttl.to_owned()), emergency: Some(true) }),
        circuit_breaker: Some(v1::BreakerTuning {
            failure_threshold: Some(failure_threshold),
            failure_rate: Some(0.25),
            ..v1::BreakerTuning::default()
        }),
    };
    SettingsEntry { version: 1, given: Some(given) }
}

#[test]
fn settings_are_read_and_a_bad_one_leaves_those_of_before_in_force() {
    let state = full_snapshot();
    let read = Arc::clone(state.settings().unwrap());
    assert_eq!((read.cache_ttl, read.emergency_caching), (Some(Duration::from_secs(3600)), true));
    assert_eq!(read.log_level.as_deref(), Some("debug"));
    assert_eq!(read.log_components["embedding.router"], "trace");
    assert_eq!((read.breaker.failure_threshold, read.breaker.failure_rate), (Some(7), Some(0.25)));
    assert_eq!(read.breaker.success_threshold, None);

    let mut no_share = settings("1h", 9);
    no_share.given.as_mut().unwrap().circuit_breaker.as_mut().unwrap().slow_call_rate = Some(1.5);
    let nothing = SettingsEntry { version: 2, given: None };
    for (bad, snapshot) in
        [(settings("soon", 9), false), (settings("soon", 9), true), (no_share, true), (nothing, false)]
    {
        let next = apply(&state, update(9, snapshot, vec![put_of(Value::Settings(bad))])).unwrap();
        assert_eq!((next.version, next.settings()), (9, Some(&read)));
    }
    let next = apply(&state, update(9, false, vec![put_of(Value::Settings(settings("2h", 9)))])).unwrap();
    assert_eq!(next.settings().unwrap().cache_ttl, Some(Duration::from_secs(7200)));
    let gone = removed(Value::Settings(SettingsEntry::default()));
    assert_eq!(apply(&next, update(10, false, vec![gone])).unwrap().settings(), None);
}

fn tenant_entry(suspended: bool) -> TenantEntry {
    TenantEntry { tenant_id: TENANT.to_owned(), suspended, ..TenantEntry::default() }
}

fn policy(action: Option<&str>) -> PolicyEntry {
    let pii = action.map(|action| v1::PiiPolicy { action: action.to_owned(), ..v1::PiiPolicy::default() });
    PolicyEntry { tenant_id: TENANT.to_owned(), pii }
}

fn provider(source: &str) -> SealedProvider {
    let (name, source) = ("own".to_owned(), source.to_owned());
    let entry = v1::ProviderEntry { name, source, ..v1::ProviderEntry::default() };
    SealedProvider { entry: Some(entry), sealed_credential: vec![1, 2].into(), credential_version: 1 }
}

fn limits(state: &Snapshot) -> Vec<i64> {
    state.budgets(tenant()).map(|budget| budget.limit_nano_usd).collect()
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
        put_of(Value::Reference(reference(&[0.6, -0.8]))),
        put_of(Value::Breaker(order("force_open", 5))),
        put_of(Value::Budget(budget("b1", 10))),
        put_of(Value::Budget(budget("b2", 20))),
        put_of(Value::Settings(settings("1h", 7))),
        put_of(Value::Tenant(tenant_entry(false))),
        put_of(Value::Policy(policy(Some("redact")))),
        put_of(Value::Provider(provider("api"))),
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
    let recorded = state.reference(&space()).unwrap();
    assert_eq!((recorded.texts_version.as_str(), recorded.deployment.as_str()), ("1", "own/small"));
    assert_eq!(recorded.vectors, reference(&[0.6, -0.8]).vectors);
    let orders: Vec<_> = state.breaker_orders().collect();
    assert_eq!(orders, [("own/small", &BreakerOrder { action: BreakerAction::ForceOpen, number: 5 })]);
    assert_eq!(limits(&state), [10, 20]);
    assert!(state.all_budgets().all(|(of, _)| of == tenant()));
    let other: TenantId = "0192d5a0-0000-7000-8000-000000000002".parse().unwrap();
    assert!(state.agent(other, &agent_id()).is_none());
    assert_eq!(state.budgets(other).count(), 0);
}

#[test]
fn a_change_touches_only_what_it_names_and_leaves_readers_alone() {
    let before = full_snapshot();
    let after = apply(&before, update(4, false, vec![put_of(Value::Agent(agent(2)))])).unwrap();
    assert_eq!(before.agent(tenant(), &agent_id()).unwrap().version, 1);
    assert_eq!(after.agent(tenant(), &agent_id()).unwrap().version, 2);
    assert!(after.key(&"k1".parse().unwrap()).is_some());
    // what was not touched is shared, not copied
    assert!(Arc::ptr_eq(before.reference(&space()).unwrap(), after.reference(&space()).unwrap()));

    let again = apply(&after, update(5, false, vec![put_of(Value::Breaker(order("reset", 6)))])).unwrap();
    let orders: Vec<_> = again.breaker_orders().collect();
    assert_eq!(orders, [("own/small", &BreakerOrder { action: BreakerAction::Reset, number: 6 })]);
    assert_eq!(after.breaker_orders().map(|(_, order)| order.number).collect::<Vec<_>>(), [5]);

    let raised = apply(&again, update(6, false, vec![put_of(Value::Budget(budget("b1", 11)))])).unwrap();
    assert_eq!((limits(&again), limits(&raised)), (vec![10, 20], vec![11, 20]));
}

#[test]
fn removals_remove() {
    let entries = vec![
        removed(Value::Key(KeyEntry { id: "k1".to_owned(), ..KeyEntry::default() })),
        removed(Value::Agent(agent(0))),
        removed(Value::Model(v1::CatalogModel { id: "small".to_owned(), ..v1::CatalogModel::default() })),
        removed(Value::Pin(Pin { space_id: String::new(), ..pin("") })),
        removed(Value::Reference(Reference { vectors: vec![], ..reference(&[]) })),
        removed(Value::Breaker(order("", 0))),
        removed(Value::Budget(budget("b1", 0))),
    ];
    let empty = apply(&full_snapshot(), update(4, false, entries)).unwrap();
    assert!(empty.key(&"k1".parse().unwrap()).is_none());
    assert!(empty.agent(tenant(), &agent_id()).is_none());
    assert_eq!(empty.models().count(), 0);
    assert!(empty.pin(tenant(), &agent_id(), "research").is_none());
    assert!(empty.reference(&space()).is_none());
    assert_eq!(empty.breaker_orders().count(), 0);
    assert_eq!(limits(&empty), [20], "the other budget stays");
    let unknown = vec![removed(Value::Budget(budget("b9", 0))), removed(Value::Budget(budget("b2", 0)))];
    let empty = apply(&empty, update(5, false, unknown)).unwrap();
    assert_eq!(empty.all_budgets().count(), 0);
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
            put_of(Value::Reference(reference(&[1.0]))),
            put_of(Value::Reference(reference(&[1.0, f32::NAN]))),
            put_of(Value::Reference(Reference { vectors: vec![], ..reference(&[]) })),
            put_of(Value::Reference(Reference { space_id: "no space".to_owned(), ..reference(&[1.0, 0.0]) })),
            put_of(Value::Breaker(order("explode", 6))),
            put_of(Value::Breaker(BreakerOrderMessage::default())),
            put_of(Value::Budget(budget("b1", -1))),
            put_of(Value::Budget(budget("", 9))),
            put_of(Value::Budget(BudgetEntry { budget: None, ..budget("b2", 9) })),
            put_of(Value::Budget(BudgetEntry { tenant_id: "x".to_owned(), ..budget("b3", 9) })),
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
        assert_eq!(next.reference(&space()), state.reference(&space()));
        assert_eq!(next.breaker_orders().collect::<Vec<_>>(), state.breaker_orders().collect::<Vec<_>>());
        // these entries could not be told to be of this budget and this agent
        assert_eq!(limits(&next), if snapshot { vec![10] } else { vec![10, 20] });
        assert_eq!(next.agent(tenant(), &agent_id()).is_some(), !snapshot);
    }
}

#[test]
fn a_budget_that_nobody_could_obey_is_no_budget() {
    let state = full_snapshot();
    let bad = |change: fn(&mut v1::BudgetRule)| {
        let mut entry = budget("b1", 30);
        change(entry.budget.as_mut().unwrap());
        let next = apply(&state, update(4, true, vec![put_of(Value::Budget(entry))])).unwrap();
        limits(&next)
    };
    assert_eq!(bad(|_| {}), [30]);
    assert_eq!(bad(|budget| budget.limit_nano_usd = 0), [0]);
    assert_eq!(bad(|budget| budget.limit_nano_usd = -1), [10]);
    assert_eq!(bad(|budget| budget.scope = "team".to_owned()), [10]);
    assert_eq!(bad(|budget| budget.scope = "tenant".to_owned()), [10]);
    assert_eq!(bad(|budget| budget.subject.clear()), [10]);
    assert_eq!(bad(|budget| budget.period = "hour".to_owned()), [10]);
}

#[test]
fn builders_make_what_the_stream_would() {
    let read = SpaceReference::read(&space(), &reference(&[0.6, -0.8])).unwrap();
    let order = BreakerOrder { action: BreakerAction::ForceClosed, number: 1 };
    let rule = budget("b1", 10).budget.unwrap();
    let built = Snapshot::default()
        .with_reference(space(), read)
        .with_breaker_order("own/small", order)
        .with_budget(tenant(), rule);
    let entries = vec![
        put_of(Value::Reference(reference(&[0.6, -0.8]))),
        put_of(Value::Breaker(order.write("own/small"))),
        put_of(Value::Budget(budget("b1", 10))),
    ];
    assert_eq!(apply(&Snapshot::default(), update(0, true, entries)), Some(built));
}

#[test]
fn a_state_survives_its_message() {
    let state = full_snapshot();
    assert_eq!(apply(&Snapshot::default(), to_update(&state)), Some(state));
}

#[test]
fn tenants_and_policies_come_change_and_go() {
    let before = full_snapshot();
    let state = |snapshot: &Snapshot| {
        let suspended = snapshot.tenant(tenant()).map(|tenant| tenant.suspended);
        (suspended, snapshot.pii_policy(tenant()).map(|policy| policy.action.clone()))
    };
    assert_eq!(state(&before), (Some(false), Some("redact".to_owned())));
    // a policy without its content changes nothing, through a snapshot either
    let bad = vec![put_of(Value::Policy(policy(None))), put_of(Value::Tenant(tenant_entry(true)))];
    let after = apply(&before, update(4, false, bad.clone())).unwrap();
    assert_eq!(state(&after), (Some(true), Some("redact".to_owned())));
    assert_eq!(state(&apply(&after, update(5, true, bad)).unwrap()), state(&after));
    let gone = vec![removed(Value::Policy(policy(None))), removed(Value::Tenant(tenant_entry(false)))];
    assert_eq!(state(&apply(&after, update(5, false, gone)).unwrap()), (None, None));
    let again = apply(&Snapshot::default(), to_update(&after)).unwrap();
    assert_eq!(state(&again), state(&after));
}

#[test]
fn a_provider_of_an_unknown_source_changes_nothing_and_a_removal_removes() {
    let state = full_snapshot();
    let held = |state: &Snapshot| state.providers().map(|one| SealedProvider::clone(one)).collect::<Vec<_>>();
    assert_eq!(held(&state), [provider("api")]);
    // one of the file has its credential there
    for bad in [provider("other"), provider(""), provider("file")] {
        let next = apply(&state, update(9, true, vec![put_of(Value::Provider(bad))])).unwrap();
        assert_eq!(held(&next), [provider("api")], "what was known stays");
    }
    let gone = apply(&state, update(9, false, vec![removed(Value::Provider(provider("api")))])).unwrap();
    assert!(held(&gone).is_empty());
}
