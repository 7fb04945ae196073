use embermesh_auth::Scope;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    CONFIG_VERSION,
    internal::v1::Section,
    v1::{
        CacheTuning, GetSettingsRequest, ListAuditRecordsRequest, LogTuning, SettingsInForce, SettingsInput,
        audit_client::AuditClient, settings_client::SettingsClient,
    },
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use serde_json::{Value, json};

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, context, refused},
};

fn settings(replica: &Replica) -> SettingsClient<Transport> {
    let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
    SettingsClient::new(in_process(replica.service.settings_server(), &calls))
}

async fn in_force(world: &World) -> SettingsInForce {
    let request = world.admin().request(GetSettingsRequest {});
    settings(&world.replica).get_settings(request).await.unwrap().into_inner()
}

fn input(body: Value) -> SettingsInput {
    serde_json::from_value(body).unwrap()
}

async fn change(world: &World, by: &CallContext, body: Value) -> Result<SettingsInForce, tonic::Status> {
    let answer = settings(&world.replica).change_settings(by.request(input(body))).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn settings_are_the_files_until_they_are_turned_and_again_when_they_are_cleared() {
    let world = World::new().await;
    let admin = world.admin();
    let first = in_force(&world).await;
    assert_eq!((first.version, first.changed_by.as_deref()), (0, None));
    let breaker = first.circuit_breaker.clone().unwrap();
    assert_eq!((breaker.failure_threshold, breaker.timeout.as_deref()), (Some(5), Some("30s")));
    assert!(first.sources.values().all(|source| source == "file"), "{:?}", first.sources);

    let turned = json!({
        "logging": {"components": {"embedding.router": "debug"}},
        "cache": {"emergency": true},
        "circuit_breaker": {"failure_threshold": 9},
        "version": 0,
    });
    let turned = change(&world, &admin, turned).await.unwrap();
    assert_eq!((turned.version, turned.changed_by.as_deref()), (1, Some("testkey")));
    let api: Vec<&str> =
        turned.sources.iter().filter(|(_, from)| *from == "api").map(|(name, _)| name.as_str()).collect();
    let expected =
        ["cache.emergency", "circuit_breaker.failure_threshold", "logging.components.embedding.router"];
    assert_eq!(api, expected);
    assert_eq!(turned.circuit_breaker.as_ref().unwrap().failure_threshold, Some(9));
    assert_eq!(turned.circuit_breaker.as_ref().unwrap().success_threshold, Some(3));
    assert_eq!(turned.logging.as_ref().unwrap().level.as_deref(), Some("info"));
    assert_eq!(in_force(&world).await, turned);

    // the same again is no change
    let same = settings(&world.replica);
    let same =
        same.clone().change_settings(admin.request(input(json!({"cache": {"emergency": true}})))).await;
    let same = same.unwrap();
    assert!(!same.metadata().contains_key(CONFIG_VERSION));
    assert_eq!(same.into_inner(), turned);

    let cleared = json!({"clear": ["logging", "cache", "circuit_breaker"], "version": 1});
    let cleared = change(&world, &admin, cleared).await.unwrap();
    assert_eq!(cleared.version, 2);
    assert_eq!((cleared.circuit_breaker, cleared.cache), (first.circuit_breaker, first.cache));
    assert!(cleared.sources.values().all(|source| source == "file"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let admin = world.admin();
    for (body, code, param) in [
        (
            json!({"circuit_breaker": {"failure_threshold": 0}}),
            Code::Invalid,
            "circuit_breaker.failure_threshold",
        ),
        (json!({"cache": {"ttl": "8d"}}), Code::Invalid, "cache.ttl"),
        (json!({"logging": {"level": "loud"}}), Code::Invalid, "logging.level"),
        (json!({"clear": ["cache.tll"]}), Code::Invalid, "clear"),
        (json!({"version": 1}), Code::Conflict, "version"),
    ] {
        let error = refused(change(&world, &admin, body.clone()).await);
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{body}");
    }
    assert_eq!(in_force(&world).await.version, 0);
    for scopes in [&["read"][..], &["embed", "search", "read", "costs"]] {
        let other = context(world.first.tenant, None, scopes);
        assert!(!other.principal.may(Scope::Admin));
        let error = refused(change(&world, &other, json!({})).await);
        assert_eq!(error.code, Code::Forbidden);
        let get = settings(&world.replica).get_settings(other.request(GetSettingsRequest {})).await;
        assert_eq!(refused(get).code, Code::Forbidden);
    }
}

#[tokio::test]
async fn every_change_is_recorded_with_what_was_before() {
    let world = World::new().await;
    let admin = world.admin();
    change(&world, &admin, json!({"cache": {"ttl": "1h"}})).await.unwrap();
    change(&world, &admin, json!({"cache": {"ttl": "2h"}, "logging": {"level": "debug"}})).await.unwrap();
    change(&world, &admin, json!({"clear": ["cache"]})).await.unwrap();
    let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
    let mut audit = AuditClient::new(in_process(world.replica.service.audit_server(), &calls));
    let wanted = ListAuditRecordsRequest {
        subject: Some("settings".to_owned()),
        ..ListAuditRecordsRequest::default()
    };
    let listed = audit.list_audit_records(admin.request(wanted)).await.unwrap().into_inner();
    let mut details: Vec<Value> = Vec::new();
    for record in &listed.records {
        assert_eq!((record.action.as_str(), record.changed_by.as_str()), ("settings.change", "testkey"));
        details.push(serde_json::from_str(&record.details).unwrap());
    }
    details.sort_by_key(|details| details["version"].as_i64());
    let expected = [
        json!({"version": 1, "changed": {"cache.ttl": {"before": null, "now": "1h"}}}),
        json!({"version": 2, "changed": {
            "cache.ttl": {"before": "1h", "now": "2h"}, "logging.level": {"before": null, "now": "debug"}}}),
        json!({"version": 3, "changed": {"cache.ttl": {"before": "2h", "now": null}}}),
    ];
    assert_eq!(details, expected);
}

#[tokio::test]
async fn the_stream_brings_settings_at_first_and_as_they_change() {
    let world = World::new().await;
    let (admin, tasks) = (world.admin(), Tasks::new());
    change(&world, &admin, json!({"logging": {"level": "warn"}})).await.unwrap();
    let subscription = subscribe(&world.replica, &[Section::Settings], &tasks);
    until(&subscription, "what was turned before", |state| {
        state.settings().is_some_and(|settings| settings.log_level.as_deref() == Some("warn"))
    })
    .await;
    let second = Replica::start(&world.database, &world.clock, embermesh_admin::Settings::default()).await;
    let turned = SettingsInput {
        logging: Some(LogTuning { level: Some("debug".to_owned()), ..LogTuning::default() }),
        cache: Some(CacheTuning { ttl: Some("90s".to_owned()), emergency: Some(true) }),
        ..SettingsInput::default()
    };
    settings(&second).change_settings(admin.request(turned)).await.unwrap();
    until(&subscription, "a change by another replica", |state| {
        state.settings().is_some_and(|settings| {
            settings.log_level.as_deref() == Some("debug")
                && settings.cache_ttl == Some(std::time::Duration::from_secs(90))
                && settings.emergency_caching
        })
    })
    .await;
    change(&world, &admin, json!({"clear": ["logging", "cache"]})).await.unwrap();
    until(&subscription, "that nothing is turned any more", |state| {
        state.settings().is_some_and(|settings| settings.log_level.is_none() && settings.cache_ttl.is_none())
    })
    .await;
}
