//! A standby becomes the primary: what its timeline has at a place of the log is not what the old one had there.

use std::time::{Duration, Instant};

use embermesh_private_postgres::Standby;
use embermesh_proto::internal::v1::StoreSearchRequest;
use tempfile::TempDir;

use super::world::{World, after, eventual, put, reads, store};
use crate::harness::{caller_over, contents, row, search};

#[tokio::test]
async fn a_token_of_the_old_timeline_is_the_primarys_however_far_replicas_have_come() {
    let world = World::start(1).await;
    world.all_follow().await;
    let (_, token) = world.put(row("arrived", &[1.0; 4])).await;
    let standbys = world.standbys.lock().await;
    let read = |token: &str| StoreSearchRequest { read: Some(after(token)), ..search(&[1.0; 4]) };
    while contents(
        world
            .caller
            .search(StoreSearchRequest { read: Some(eventual()), ..search(&[1.0; 4]) })
            .await
            .unwrap(),
    )
    .iter()
    .all(|content| content != "arrived")
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // not on the standby when that is promoted
    standbys[0].pause(true).await;
    let (_, lost) = world.put(row("lost", &[1.0; 4])).await;
    drop(world.primary.lock().await.take());
    standbys[0].promote().await;

    // the new primary, with a standby of its own that goes far beyond the places of both tokens
    let dir = TempDir::new().unwrap();
    let copy = Standby::of(standbys[0].server(), "embeddings", dir.path()).await;
    let (transport, metrics, _tasks) = store(&standbys[0].url(), vec![copy.url()]).await;
    let caller = caller_over(&transport, 1);
    let begun = Instant::now();
    let on_replica = || reads(&metrics, |labels| labels.contains(&("target", "replica")));
    let mut newest = String::new();
    while on_replica() == 0 {
        newest = put(&caller, row(&format!("new {:?}", begun.elapsed()), &[1.0; 4])).await.1;
        let found =
            contents(caller.search(StoreSearchRequest { limit: 1_000, ..read(&newest) }).await.unwrap());
        assert!(found.iter().any(|content| content.starts_with("new")), "{found:?}");
        assert!(begun.elapsed() < Duration::from_secs(120), "the standby of the new primary serves nothing");
    }
    // timelines differ, and the newer place is beyond the older ones
    assert!(newest[19..27] > lost[19..27] && newest[27..] > lost[27..], "{lost} {newest}");
    let before = on_replica();
    for token in [&token, &lost] {
        for _ in 0..50 {
            // the primary has what survived
            let found =
                contents(caller.search(StoreSearchRequest { limit: 1_000, ..read(token) }).await.unwrap());
            assert!(found.iter().any(|content| content == "arrived"), "{found:?}");
        }
    }
    assert_eq!(
        on_replica(),
        before,
        "a token of the old timeline was taken as satisfied by a replica of the new one"
    );
}

#[tokio::test]
async fn eventual_searches_outlive_the_primary() {
    let world = World::start(1).await;
    world.all_follow().await;
    let (_, token) = world.put(row("kept", &[1.0; 4])).await;
    let of = |read| StoreSearchRequest { read: Some(read), ..search(&[1.0; 4]) };
    world.on_replica(async || world.caller.search(of(after(&token))).await.unwrap().hits.len() == 1).await;
    let primary = world.primary.lock().await.take().unwrap();
    primary.stop().await.unwrap();
    for _ in 0..20 {
        assert_eq!(world.caller.search(of(eventual())).await.unwrap().hits.len(), 1);
        // it has been seen there
        assert_eq!(world.caller.search(of(after(&token))).await.unwrap().hits.len(), 1);
    }
    assert!(world.caller.search(of(super::world::after(""))).await.is_err(), "the primary is away");
}
