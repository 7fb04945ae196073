//! Deleting.

use embermesh_proto::internal::v1::{PutRow, StoreFilter};
use futures::future::join_all;

use crate::harness::{Bench, row, search};

#[tokio::test]
async fn removes_rows_with_their_keys_and_nothing_else() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let kept = caller.put_one(row("kept", &[1.0; 4])).await;
    let gone = caller.put_one(PutRow { context_id: "c".into(), ..row("gone", &[1.0; 4]) }).await;
    let elsewhere = PutRow { context_id: "c".into(), ..row("gone", &[1.0, 0.0]) };
    caller.put_into("test/other@2", vec![elsewhere]).await.unwrap();

    let filter = StoreFilter { context_id: "c".into(), ..StoreFilter::default() };
    assert_eq!(caller.delete(filter.clone(), true).await.unwrap(), 2);
    assert_eq!(bench.rows_and_keys().await, (3, 3));
    assert_eq!(caller.delete(filter.clone(), false).await.unwrap(), 2);
    assert_eq!(caller.delete(filter, false).await.unwrap(), 0);
    assert_eq!(bench.rows_and_keys().await, (1, 1));
    assert!(caller.get(&kept).await.is_ok());
    assert!(caller.get(&gone).await.is_err());
    assert_eq!(caller.search(search(&[1.0; 4])).await.unwrap().hits.len(), 1);
    // the text is free again
    let again = caller.put(vec![PutRow { context_id: "c".into(), ..row("gone", &[1.0; 4]) }]).await.remove(0);
    assert!(!again.deduplicated && again.embedding_id != gone);
}

#[tokio::test]
async fn an_empty_filter_is_refused_even_as_a_dry_run() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("kept", &[1.0; 4])).await;
    let bound = bench.caller_of(caller.tenant(), Some("a"));
    let nothing = || StoreFilter { metadata: "{}".into(), ..StoreFilter::default() };
    for (caller, dry_run) in [(&caller, false), (&caller, true), (&bound, false)] {
        let error = caller.delete(nothing(), dry_run).await.unwrap_err();
        assert_eq!(error.param.as_deref(), Some("filter"));
    }
    assert_eq!(bench.rows_and_keys().await, (1, 1));
}

#[tokio::test]
async fn more_than_one_batch_is_removed() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    for part in 0..6 {
        let rows = (0..1000).map(|n| row(&format!("{part} {n}"), &[1.0, n as f32, 0.0, 0.0])).collect();
        caller.put(rows).await;
    }
    let filter = StoreFilter { agent_id: "a".into(), ..StoreFilter::default() };
    assert_eq!(caller.delete(filter, false).await.unwrap(), 6000);
    assert_eq!(bench.rows_and_keys().await, (0, 0));
}

#[tokio::test]
async fn rows_that_are_put_and_deleted_at_once_stay_equal_to_their_keys() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let work = (0..40).map(|turn| {
        let caller = caller.clone();
        async move {
            if turn % 2 == 0 {
                let rows = (0..10).map(|n| row(&n.to_string(), &[1.0, n as f32, 0.0, 0.0])).collect();
                caller.put_into(crate::harness::SPACE, rows).await.map(drop)
            } else {
                let filter = StoreFilter { agent_id: "a".into(), ..StoreFilter::default() };
                caller.delete(filter, false).await.map(drop)
            }
        }
    });
    for outcome in join_all(work).await {
        outcome.unwrap();
    }
    let (rows, keys) = bench.rows_and_keys().await;
    assert_eq!(rows, keys);
    let orphans =
        "SELECT count(*) FROM embeddings e FULL JOIN embedding_keys k USING (tenant_id, embedding_id)
        WHERE e.embedding_id IS NULL OR k.embedding_id IS NULL";
    assert_eq!(bench.number(orphans).await, 0);
}
