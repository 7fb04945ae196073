//! One request id, one row.

use std::{collections::HashSet, time::Duration};

use embermesh_proto::internal::v1::{PutRow, StoreFilter};
use futures::future::join_all;

use crate::harness::{Bench, row};

fn asked(content: &str, request_id: &str, hash: u8) -> PutRow {
    PutRow {
        request_id: request_id.into(),
        request_hash: vec![hash; 32].into(),
        ..row(content, &[1.0, 0.0, 0.0, 0.0])
    }
}

#[tokio::test]
async fn a_repeat_gets_the_row_of_the_first_time_and_another_body_is_a_conflict() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let first = caller.put_one(asked("text", "r1", 1)).await;
    let results = caller
        .put(vec![
            asked("text", "r1", 1),
            asked("changed", "r1", 2),
            asked("fresh", "r2", 3),
            asked("fresh", "r2", 4),
        ])
        .await;
    assert_eq!((results[0].embedding_id.as_str(), results[0].deduplicated), (first.as_str(), true));
    assert!(results[1].conflict && results[1].embedding_id.is_empty());
    assert!(!results[2].conflict && !results[2].deduplicated);
    assert!(results[3].conflict);
    assert_eq!(bench.rows_and_keys().await, (2, 2));

    let found = caller.find_request("r1").await;
    assert_eq!(found.request_hash, vec![1; 32]);
    assert_eq!(found.row.unwrap().embedding_id, first);
    assert!(caller.find_request("r9").await.request_hash.is_empty());
    assert!(bench.caller().find_request("r1").await.row.is_none());
}

#[tokio::test]
async fn a_request_whose_text_is_known_stands_for_the_known_row() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let known = caller.put_one(row("text", &[1.0, 0.0, 0.0, 0.0])).await;
    let result =
        caller.put(vec![asked("text", "r1", 1), asked("text", "r2", 2), asked("text", "r1", 1)]).await;
    for kept in &result {
        assert_eq!((kept.embedding_id.as_str(), kept.deduplicated), (known.as_str(), true));
    }
    for request in ["r1", "r2"] {
        assert_eq!(caller.find_request(request).await.row.unwrap().embedding_id, known);
    }
}

#[tokio::test]
async fn of_concurrent_bodies_under_one_id_one_wins() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let puts = (0..40_u8).map(|n| {
        let caller = caller.clone();
        async move { (n % 4, caller.put(vec![asked(&format!("body {}", n % 4), "r", n % 4)]).await.remove(0)) }
    });
    let results = join_all(puts).await;
    let winners: HashSet<u8> =
        results.iter().filter(|(_, kept)| !kept.conflict).map(|(body, _)| *body).collect();
    let ids: HashSet<_> = results
        .iter()
        .filter(|(_, kept)| !kept.conflict)
        .map(|(_, kept)| kept.embedding_id.as_str())
        .collect();
    assert_eq!((winners.len(), ids.len()), (1, 1));
    assert_eq!(results.iter().filter(|(_, kept)| kept.conflict).count(), 30);
    assert_eq!(bench.rows_and_keys().await, (1, 1));
}

#[tokio::test]
async fn a_request_is_forgotten_after_a_day_and_with_its_row() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(asked("old", "r1", 1)).await;
    bench.clock.advance(Duration::from_secs(24 * 3600));
    assert!(caller.find_request("r1").await.row.is_none());
    // not yet swept, yet free
    let new = caller.put(vec![asked("new", "r1", 2)]).await.remove(0);
    assert!(!new.conflict && !new.deduplicated);
    assert_eq!(caller.find_request("r1").await.row.unwrap().content, "new");

    let ids = StoreFilter { embedding_ids: vec![new.embedding_id.clone()], ..StoreFilter::default() };
    assert_eq!(caller.delete(ids, false).await.unwrap(), 1);
    assert!(caller.find_request("r1").await.row.is_none());
    assert_eq!(bench.number("SELECT count(*) FROM requests").await, 0);
    assert_ne!(caller.put_one(asked("new", "r1", 3)).await, new.embedding_id);

    bench.clock.advance(Duration::from_secs(25 * 3600));
    caller.put_one(asked("young", "r2", 4)).await;
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM requests").await, 1);
}

#[tokio::test]
async fn an_entry_whose_row_is_gone_counts_as_absent() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let id = caller.put_one(asked("text", "r1", 1)).await;
    // as when a deletion overtakes a request that found its row just before
    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    owner.system().batch_execute("DELETE FROM space_1; DELETE FROM embedding_keys").await.unwrap();
    assert!(caller.find_request("r1").await.row.is_none());
    let again = caller.put(vec![asked("other body", "r1", 2)]).await.remove(0);
    assert!(!again.conflict && again.embedding_id != id);
    let found = caller.find_request("r1").await;
    assert_eq!((found.request_hash[0], found.row.unwrap().embedding_id), (2, again.embedding_id));
}
