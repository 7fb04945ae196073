use embermesh_admin::Settings;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{Reference, Section};
use embermesh_subscription::Snapshot;
use embermesh_types::SpaceId;

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, refused},
};

fn space() -> SpaceId {
    "acme/x@2".parse().unwrap()
}

fn reference(texts: &str, first: f32, deployment: &str) -> Reference {
    let vector: Vec<u8> = [first, 0.5].iter().flat_map(|number| number.to_le_bytes()).collect();
    Reference {
        space_id: space().to_string(),
        texts_version: texts.to_owned(),
        vectors: vec![vector.clone().into(), vector.into()],
        deployment: deployment.to_owned(),
    }
}

async fn record(replica: &mut Replica, reference: Reference) -> Reference {
    replica.config.record_reference(reference).await.unwrap().into_inner()
}

fn texts(snapshot: &Snapshot) -> Option<&str> {
    snapshot.reference(&space()).map(|reference| reference.texts_version.as_str())
}

#[tokio::test]
async fn of_many_references_at_once_the_first_wins_and_all_are_told_so() {
    let world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::References], &tasks);
    let mut calls = tokio::task::JoinSet::new();
    for n in 1..=32_u8 {
        let mut config = if n % 2 == 0 { world.replica.config.clone() } else { second.config.clone() };
        let mine = reference("1", f32::from(n), &format!("region-{n}/x"));
        calls.spawn(async move { config.record_reference(mine).await.unwrap().into_inner() });
    }
    let mut held = calls.join_all().await;
    held.dedup();
    assert_eq!(held.len(), 1, "{held:?}");
    until(&subscription, "the reference", |s| texts(s).is_some()).await;
    let streamed = subscription.current().reference(&space()).cloned().unwrap();
    assert_eq!((&streamed.vectors, &streamed.deployment), (&held[0].vectors, &held[0].deployment));
    assert_eq!(
        held[0].vectors,
        reference("1", f32::from_le_bytes(held[0].vectors[0][..4].try_into().unwrap()), "").vectors
    );
}

#[tokio::test]
async fn a_new_set_of_texts_replaces_and_the_old_one_never_comes_back() {
    let mut world = World::new().await;
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::References], &tasks);
    let old = record(&mut world.replica, reference("1", 1.0, "east/x")).await;
    until(&subscription, "the first set", |s| texts(s) == Some("1")).await;
    let new = record(&mut world.replica, reference("2", 2.0, "west/x")).await;
    until(&subscription, "the second set", |s| texts(s) == Some("2")).await;
    // routers of the release before go on with theirs, and disturb nobody
    assert_eq!(record(&mut world.replica, reference("1", 3.0, "south/x")).await, old);
    assert_eq!(record(&mut world.replica, reference("2", 3.0, "south/x")).await, new);

    world.replica.tasks.stop();
    let restarted = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let subscription = subscribe(&restarted, &[Section::References], &tasks);
    until(&subscription, "the state after a restart", |s| texts(s).is_some()).await;
    let held = subscription.current().reference(&space()).cloned().unwrap();
    assert_eq!((&*held.texts_version, &held.vectors, &held.deployment), ("2", &new.vectors, &new.deployment));
}

#[tokio::test]
async fn a_dropped_reference_is_gone_everywhere_and_the_next_one_wins() {
    let mut world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::References], &tasks);
    record(&mut world.replica, reference("1", 1.0, "east/x")).await;
    until(&subscription, "the reference", |s| texts(s).is_some()).await;
    assert!(world.replica.service.drop_reference(&space()).await.unwrap());
    until(&subscription, "its removal", |s| texts(s).is_none()).await;
    assert!(!world.replica.service.drop_reference(&space()).await.unwrap());
    let next = record(&mut world.replica, reference("1", 2.0, "west/x")).await;
    assert_eq!(next, reference("1", 2.0, "west/x"));
    until(&subscription, "the next one", |s| texts(s).is_some()).await;
}

#[tokio::test]
async fn vectors_that_are_not_of_the_space_are_refused() {
    let mut world = World::new().await;
    let bad = Reference { space_id: "acme/x@3".to_owned(), ..reference("1", 1.0, "east/x") };
    let error = refused(world.replica.config.record_reference(bad).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("vectors[0]")));
}
