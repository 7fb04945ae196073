//! A row exists once.

use std::collections::HashSet;

use embermesh_postgres::Role;
use futures::future::join_all;

use crate::harness::{Bench, row, search};

#[tokio::test]
async fn a_row_that_is_put_can_be_found_by_its_vector_and_by_its_id() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let results =
        caller.put(vec![row("near", &[1.0, 0.1, 0.0, 0.0]), row("far", &[0.0, 0.0, 1.0, 0.0])]).await;
    assert!(results.iter().all(|result| !result.deduplicated));
    let reply = caller.search(search(&[1.0, 0.0, 0.0, 0.0])).await.unwrap();
    assert_eq!(reply.scan, "exact");
    let found: Vec<_> = reply.hits.iter().map(|hit| hit.row.as_ref().unwrap()).collect();
    assert_eq!((found[0].content.as_str(), found[1].content.as_str()), ("near", "far"));
    assert!((reply.hits[0].similarity - 1.0 / 1.01_f64.sqrt()).abs() < 1e-3);
    assert_eq!(reply.truncated, "only 2 rows match");

    let stored = caller.get(&results[0].embedding_id).await.unwrap();
    assert_eq!((stored.content.as_str(), stored.created_at), ("near", results[0].created_at));
    assert_eq!((stored.tokens, stored.cost_nano_usd, stored.dimensions), (3, 20, 4));
    assert!(caller.get("0192d5a0-0000-7000-8000-00000000dead").await.is_err());
}

#[tokio::test]
async fn the_same_row_again_is_the_row_that_was_there() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let one = row("text", &[1.0, 0.0, 0.0, 0.0]);
    let first = caller.put(vec![one.clone()]).await.remove(0);
    let again = caller.put(vec![row("new", &[0.0, 1.0, 0.0, 0.0]), one.clone(), one.clone()]).await;
    assert!(!again[0].deduplicated);
    for known in &again[1..] {
        assert!(known.deduplicated);
        assert_eq!((&known.embedding_id, known.created_at), (&first.embedding_id, first.created_at));
    }
    let mut other_agent = one;
    other_agent.agent_id = "b".into();
    assert_ne!(caller.put_one(other_agent).await, first.embedding_id);
    assert_eq!(bench.rows_and_keys().await, (3, 3));
}

#[tokio::test]
async fn duplicates_within_one_call_are_one_row() {
    let bench = Bench::start().await;
    let one = row("text", &[1.0, 0.0, 0.0, 0.0]);
    let results = bench.caller().put(vec![one.clone(), row("x", &[1.0; 4]), one.clone(), one]).await;
    assert_eq!(
        results.iter().map(|result| result.deduplicated).collect::<Vec<_>>(),
        [false, false, true, true]
    );
    assert_eq!(results[0].embedding_id, results[2].embedding_id);
    assert_eq!(bench.rows_and_keys().await, (2, 2));
}

#[tokio::test]
async fn fifty_callers_at_once_share_one_row() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    // the first use of the space is part of the race; every caller brings the rows in another order
    let puts = (0..50).map(|turn| {
        let caller = caller.clone();
        async move {
            let mut rows: Vec<_> =
                (0..8).map(|n| row(&format!("text {n}"), &[1.0, n as f32, 0.0, 0.0])).collect();
            rows.rotate_left(turn % 8);
            let mut results = caller.put(rows).await;
            results.rotate_right(turn % 8);
            results
        }
    });
    let results = join_all(puts).await;
    for n in 0..8 {
        let ids: HashSet<_> = results.iter().map(|result| result[n].embedding_id.as_str()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(results.iter().filter(|result| !result[n].deduplicated).count(), 1);
    }
    assert_eq!(bench.rows_and_keys().await, (8, 8));
}

#[tokio::test]
async fn replicas_that_use_a_space_first_at_the_same_time_create_it_once() {
    let one = Bench::start().await;
    let others = join_all(
        (0..4).map(|_| Bench::on(one.database.clone(), embermesh_vector_store::Settings::default())),
    )
    .await;
    let caller = one.caller();
    let callers: Vec<_> = others.iter().map(|bench| bench.caller_of(caller.tenant(), None)).collect();
    let puts = callers.iter().map(|caller| caller.put_one(row("text", &[1.0, 0.0, 0.0, 0.0])));
    let ids: HashSet<_> = join_all(puts).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(one.number("SELECT count(*) FROM spaces").await, 1);
    assert_eq!(caller.search(search(&[1.0; 4])).await.unwrap().hits.len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_killed_in_the_middle_leaves_rows_and_keys_equal() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("first", &[1.0, 0.0, 0.0, 0.0])).await;
    let owner = bench.sql(Role::Owner).await;
    // the lock stops the statement in the middle
    let lock = owner.system().begin().await.unwrap();
    lock.batch_execute("LOCK TABLE space_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let rows =
        |n: usize| (0..20).map(|i| row(&format!("{n} {i}"), &[1.0, i as f32, 0.0, 0.0])).collect::<Vec<_>>();
    let mut puts: Vec<_> = (0..5)
        .map(|n| {
            Box::pin({
                let caller = caller.clone();
                async move { caller.put_into(crate::harness::SPACE, rows(n)).await }
            })
        })
        .collect();
    let mut killed = 0;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO space_1%'";
    let killer = async {
        while killed < 10 {
            killed += owner.system().query_one(kill, &[]).await.unwrap().get::<_, i64>(0);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        lock.rollback().await.unwrap();
    };
    let (results, ()) = futures::join!(join_all(puts.iter_mut()), killer);
    let (stored, keys) = bench.rows_and_keys().await;
    let acknowledged = results.iter().filter(|result| result.is_ok()).count() as i64;
    assert_eq!(stored, keys);
    assert_eq!(stored, 1 + 20 * acknowledged);

    for n in 0..5 {
        caller.put(rows(n)).await;
    }
    assert_eq!(bench.rows_and_keys().await, (101, 101));
}
