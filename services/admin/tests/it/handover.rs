//! Automatic rotation: a key is retired once its successor is used, and never before.

use std::time::Duration;

use embermesh_admin::Settings;
use embermesh_auth::{ApiKey, Scopes};
use embermesh_config::{KeyRotation, Security, Span};
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{ReportKeyUseRequest, Section, UsedKey, key_use_client::KeyUseClient},
    v1::{
        GetOwnKeyRequest, ListAuditRecordsRequest, RevokeKeyRequest, RotatedKey, TakeSuccessorRequest,
        audit_client::AuditClient,
    },
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, in_process};

use crate::{
    key_rotation::{HOUR, hours, key, new, rotate},
    subscriber::{subscribe, until},
    world::{NOON, START, World, context, refused},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Keys are due after ten hours, and end two hours after the first use of their successors.
async fn world() -> World {
    let api_key_rotation = KeyRotation {
        enabled: true,
        rotation_period: Span::seconds(10 * 3_600),
        overlap: Span::seconds(2 * 3_600),
    };
    let security = Security { api_key_rotation, ..Security::default() };
    World::with(Settings { security, ..Settings::default() }).await
}

/// Whoever holds the key of this id.
fn holder(world: &World, id: &str) -> CallContext {
    let mut holder = context(world.first.tenant, None, &["embed"]);
    holder.principal.key = id.parse().unwrap();
    holder.principal.scopes = Scopes::parse(["embed"]).unwrap();
    holder
}

async fn take(world: &mut World, id: &str) -> Result<RotatedKey, Error> {
    let request = holder(world, id).request(TakeSuccessorRequest {});
    world.replica.keys.take_successor(request).await.map(tonic::Response::into_inner).map_err(Error::from)
}

/// A gateway tells that the key is used.
async fn told(world: &World, id: &str, at: Duration) {
    let server = world.replica.service.key_use_server();
    let mut client = KeyUseClient::new(in_process(server, &GrpcMetrics::new(&Metrics::default()).unwrap()));
    let key = UsedKey {
        tenant_id: world.first.tenant.to_string(),
        key_id: id.to_owned(),
        last_used_at: Some((START + NOON + at).into()),
    };
    client.report(ReportKeyUseRequest { keys: vec![key] }).await.unwrap();
}

/// The same, and admin looks after keys.
async fn used(world: &World, id: &str, at: Duration) {
    told(world, id, at).await;
    world.replica.service.look_after_keys().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_old_enough_ends_after_its_successor_was_used_and_not_before() {
    let mut world = world().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let id: embermesh_types::KeyId = made.id.parse().unwrap();
    let tasks = embermesh_lifecycle::Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Keys], &tasks);
    world.clock.advance(HOUR * 9);
    world.replica.service.look_after_keys().await.unwrap();
    assert_eq!(take(&mut world, &made.id).await.unwrap_err().code, Code::Conflict, "too young");
    world.clock.advance(HOUR * 2);
    world.replica.service.look_after_keys().await.unwrap();
    assert_eq!(key(&mut world, &made.id).await.rotation_due_at, hours(11));
    until(&subscription, "due", |s| s.key(&id).is_some_and(|key| key.rotation_due)).await;

    // nobody asks for it: it goes on for ever
    world.clock.advance(HOUR * 24 * 400);
    world.replica.service.look_after_keys().await.unwrap();
    let old = key(&mut world, &made.id).await;
    assert_eq!((old.expires_at, old.successor_id), (None, None));

    let day = HOUR * (11 + 24 * 400);
    let taken = take(&mut world, &made.id).await.unwrap();
    assert_eq!(ApiKey::parse(&taken.key).unwrap().id().as_str(), taken.id);
    assert_eq!((taken.name.as_str(), &taken.predecessor_id), ("ci", &made.id));
    assert_eq!((taken.expires_at, taken.predecessor_expires_at), (None, None));
    let hash = ApiKey::parse(&taken.key).unwrap().hash();
    let successor = taken.id.parse().unwrap();
    until(&subscription, "the successor", |s| s.key(&successor).is_some_and(|key| key.hash == hash)).await;
    // taken, not used: the key goes on
    world.clock.advance(HOUR * 100);
    world.replica.service.look_after_keys().await.unwrap();
    let own = holder(&world, &made.id).request(GetOwnKeyRequest {});
    let own = world.replica.keys.get_own_key(own).await.unwrap().into_inner();
    assert_eq!((own.expires_at, own.handover_id.as_deref()), (None, Some(taken.id.as_str())));

    used(&world, &taken.id, day + HOUR * 100).await;
    let old = key(&mut world, &made.id).await;
    let end = START + NOON + day + HOUR * 102;
    assert_eq!((old.expires_at, old.handover_id, old.rotation_due_at), (Some(end.into()), None, None));
    assert_eq!(old.successor_id.as_deref(), Some(taken.id.as_str()));
    until(&subscription, "the end", |s| s.key(&id).is_some_and(|key| key.expires_at == Some(end))).await;
    assert!(take(&mut world, &made.id).await.unwrap_err().message.contains("successor"));
    // the next one, when it is old enough itself
    assert_eq!(take(&mut world, &taken.id).await.unwrap_err().code, Code::Conflict);
    world.clock.advance(HOUR * 11);
    world.replica.service.look_after_keys().await.unwrap();
    take(&mut world, &taken.id).await.unwrap();
}

#[tokio::test]
async fn a_successor_that_was_lost_on_the_way_is_replaced_and_at_most_two_versions_work() {
    let mut world = world().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    world.clock.advance(HOUR * 11);
    world.replica.service.look_after_keys().await.unwrap();
    let lost = take(&mut world, &made.id).await.unwrap();
    // somebody else with the same key asks at once
    let early = take(&mut world, &made.id).await.unwrap_err();
    assert_eq!((early.code, early.retry_after), (Code::Conflict, Some(MINUTE * 5)));
    world.clock.advance(MINUTE * 5);
    let second = take(&mut world, &made.id).await.unwrap();
    assert!(key(&mut world, &lost.id).await.revoked_at.is_some());
    let old = key(&mut world, &made.id).await;
    assert_eq!((old.expires_at, old.handover_id.as_deref()), (None, Some(second.id.as_str())));
    // a use that becomes known just now counts, though the key is not marked yet
    told(&world, &second.id, HOUR * 11).await;
    world.clock.advance(HOUR);
    let error = take(&mut world, &made.id).await.unwrap_err();
    assert_eq!(error.details["successor_id"], second.id.as_str());
    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&made.id, "0s"))).await);
    assert_eq!(error.details["successor_id"], second.id.as_str());
    world.replica.service.look_after_keys().await.unwrap();
    assert_eq!(key(&mut world, &made.id).await.successor_id, Some(second.id));
}

#[tokio::test]
async fn a_successor_in_use_that_is_revoked_before_the_key_has_its_end_replaces_nothing() {
    let mut world = world().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    world.clock.advance(HOUR * 11);
    world.replica.service.look_after_keys().await.unwrap();
    let taken = take(&mut world, &made.id).await.unwrap();
    told(&world, &taken.id, HOUR * 11).await;
    let revoke = RevokeKeyRequest { id: taken.id };
    world.replica.keys.revoke_key(admin.request(revoke)).await.unwrap();
    world.replica.service.look_after_keys().await.unwrap();
    let old = key(&mut world, &made.id).await;
    assert_eq!((old.expires_at, old.successor_id), (None, None));
    let another = take(&mut world, &made.id).await.unwrap();
    used(&world, &another.id, HOUR * 11).await;
    let old = key(&mut world, &made.id).await;
    assert_eq!((old.expires_at, old.successor_id), (hours(13), Some(another.id)));
}

#[tokio::test]
async fn an_operator_who_revokes_or_rotates_a_key_takes_back_what_its_holder_took() {
    let mut world = world().await;
    let admin = world.admin();
    let mut ids = Vec::new();
    for name in ["revoked", "rotated"] {
        ids.push(world.replica.keys.create_key(admin.request(new(name))).await.unwrap().into_inner().id);
    }
    world.clock.advance(HOUR * 11);
    world.replica.service.look_after_keys().await.unwrap();
    let taken = [take(&mut world, &ids[0]).await.unwrap(), take(&mut world, &ids[1]).await.unwrap()];
    let revoke = RevokeKeyRequest { id: ids[0].clone() };
    world.replica.keys.revoke_key(admin.request(revoke)).await.unwrap();
    let rotated = world.replica.keys.rotate_key(admin.request(rotate(&ids[1], "1h"))).await.unwrap();
    for taken in &taken {
        assert!(key(&mut world, &taken.id).await.revoked_at.is_some());
    }
    let old = key(&mut world, &ids[1]).await;
    assert_eq!(old.successor_id, Some(rotated.into_inner().id));
    assert_eq!((old.handover_id, old.rotation_due_at), (None, None));
    world.replica.service.look_after_keys().await.unwrap();
    assert_eq!(take(&mut world, &ids[0]).await.unwrap_err().code, Code::Conflict);

    // all of it is in the chain, and no secret is
    let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
    let mut audit = AuditClient::new(in_process(world.replica.service.audit_server(), &calls));
    let request = ListAuditRecordsRequest { page_size: Some(100), ..Default::default() };
    let records = audit.list_audit_records(admin.request(request)).await.unwrap().into_inner().records;
    let count = |action: &str| records.iter().filter(|record| record.action == action).count();
    // the first keys are old enough, too
    assert_eq!((count("key.rotation_due"), count("key.hand_over")), (4, 2));
    assert_eq!((count("key.revoke"), count("key.rotate")), (3, 1));
    let text = format!("{records:?}");
    assert!(taken.iter().all(|taken| !text.contains(&taken.key)));
}

#[tokio::test]
async fn rotation_that_is_off_asks_nobody_and_one_with_an_end_does_not_outlive_it() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    world.clock.advance(HOUR * 24 * 1_000);
    world.replica.service.look_after_keys().await.unwrap();
    let request = holder(&world, &made.id).request(TakeSuccessorRequest {});
    assert_eq!(refused(world.replica.keys.take_successor(request).await).code, Code::Conflict);

    let mut world = self::world().await;
    let ends = embermesh_proto::v1::CreateKeyRequest { expires_at: hours(1_000), ..new("ends") };
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(ends)).await.unwrap().into_inner();
    world.clock.advance(HOUR * 11);
    world.replica.service.look_after_keys().await.unwrap();
    let taken = take(&mut world, &made.id).await.unwrap();
    assert_eq!((taken.expires_at, taken.predecessor_expires_at), (hours(1_000), hours(1_000)));
    used(&world, &taken.id, HOUR * 11).await;
    assert_eq!(key(&mut world, &made.id).await.expires_at, hours(13));
}
