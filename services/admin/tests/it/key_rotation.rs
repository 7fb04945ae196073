//! Rotation: two versions of a key at most, and no end that moves back.

use std::time::Duration;

use embermesh_auth::ApiKey;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::Section,
    v1::{CreateKeyRequest, GetKeyRequest, Key, RevokeKeyRequest, RotateKeyRequest},
};

use crate::{
    subscriber::{subscribe, until},
    world::{NOON, START, World, refused},
};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn new(name: &str) -> CreateKeyRequest {
    CreateKeyRequest { name: name.to_owned(), ..CreateKeyRequest::default() }
}

pub(crate) fn rotate(id: &str, overlap: &str) -> RotateKeyRequest {
    RotateKeyRequest { id: id.to_owned(), overlap: Some(overlap.to_owned()) }
}

pub(crate) async fn key(world: &mut World, id: &str) -> Key {
    let request = world.admin().request(GetKeyRequest { id: id.to_owned() });
    world.replica.keys.get_key(request).await.unwrap().into_inner()
}

/// A time so many hours after the world began.
pub(crate) fn hours(hours: u32) -> Option<prost_types::Timestamp> {
    Some((START + NOON + HOUR * hours).into())
}

#[tokio::test]
async fn a_rotated_key_works_until_its_overlap_ends_and_its_successor_takes_over() {
    let mut world = World::new().await;
    let admin = world.admin();
    let scopes = vec!["embed".to_owned(), "costs".to_owned()];
    let bound = CreateKeyRequest {
        agent_id: Some("docs".to_owned()),
        scopes: scopes.clone(),
        expires_at: hours(1_000),
        ..new("ci")
    };
    let made = world.replica.keys.create_key(admin.request(bound)).await.unwrap().into_inner();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Keys], &tasks);
    world.clock.advance(HOUR * 100);
    let rotated = world.replica.keys.rotate_key(admin.request(rotate(&made.id, "2h"))).await.unwrap();
    let rotated = rotated.into_inner();
    assert_eq!(ApiKey::parse(&rotated.key).unwrap().id().as_str(), rotated.id);
    assert_eq!((rotated.name.as_str(), &rotated.scopes), ("ci", &scopes));
    assert_eq!((rotated.agent_id.as_deref(), &rotated.predecessor_id), (Some("docs"), &made.id));
    // as long a life as the first was made for
    assert_eq!((rotated.expires_at, rotated.predecessor_expires_at), (hours(1_100), hours(102)));
    let (old, successor) = (key(&mut world, &made.id).await, key(&mut world, &rotated.id).await);
    assert_eq!((old.expires_at, old.successor_id.as_deref()), (hours(102), Some(rotated.id.as_str())));
    assert_eq!((successor.expires_at, successor.successor_id), (hours(1_100), None));

    // both go out to the gateways
    let hash = ApiKey::parse(&rotated.key).unwrap().hash();
    let (old_id, id) = (made.id.parse().unwrap(), rotated.id.parse().unwrap());
    until(&subscription, "the successor", |s| s.key(&id).is_some_and(|key| key.hash == hash)).await;
    let end = START + NOON + HOUR * 102;
    until(&subscription, "the end", |s| s.key(&old_id).is_some_and(|key| key.expires_at == Some(end))).await;

    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&made.id, "0s"))).await);
    assert_eq!((error.code, &error.details["successor_id"]), (Code::Conflict, &rotated.id.as_str().into()));
    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&rotated.id, "1h"))).await);
    assert_eq!((error.code, &error.details["predecessor_id"]), (Code::Conflict, &made.id.as_str().into()));
    world.clock.advance(HOUR * 2);
    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&made.id, "1h"))).await);
    assert!(error.code == Code::Conflict && error.message.contains("expired"), "{error}");
    world.replica.keys.rotate_key(admin.request(rotate(&rotated.id, "1h"))).await.unwrap();
}

#[tokio::test]
async fn a_leaked_successor_is_replaced_at_once_while_its_predecessor_goes_on() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let leaked = world.replica.keys.rotate_key(admin.request(rotate(&made.id, "24h"))).await.unwrap();
    let leaked = leaked.into_inner();
    let third = world.replica.keys.rotate_key(admin.request(rotate(&leaked.id, "0s"))).await.unwrap();
    let third = third.into_inner();
    assert_eq!((third.predecessor_expires_at, third.expires_at), (hours(0), None));
    // the third is alive and came from the first, though the first's own successor is dead
    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&made.id, "0s"))).await);
    assert_eq!(error.details["successor_id"], third.id.as_str());
    world.replica.keys.revoke_key(admin.request(RevokeKeyRequest { id: third.id.clone() })).await.unwrap();
    let error = refused(world.replica.keys.rotate_key(admin.request(rotate(&third.id, "0s"))).await);
    assert!(error.code == Code::Conflict && error.message.contains("revoked"), "{error}");
    // whose successors are all dead may have another
    let fourth = world.replica.keys.rotate_key(admin.request(rotate(&made.id, "48h"))).await.unwrap();
    assert_eq!(key(&mut world, &made.id).await.successor_id, Some(fourth.into_inner().id));
    assert_eq!(key(&mut world, &made.id).await.expires_at, hours(24), "an overlap is never made longer");
}
