//! A new month never breaks an insert.

use std::time::Duration;

use crate::harness::{Bench, row, search};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn rows_go_on_being_stored_however_far_the_clock_moves() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let mut ids = Vec::new();
    // within what was made ahead, just beyond it, far beyond it, and back at the start of a month
    for days in [0, 17, 30, 45, 40, 400, 1] {
        bench.clock.advance(DAY * days);
        ids.push(caller.put_one(row(&format!("day {}", ids.len()), &[1.0; 4])).await);
    }
    assert_eq!(caller.search(search(&[1.0; 4])).await.unwrap().hits.len(), ids.len());
    for id in &ids {
        assert!(caller.get(id).await.is_ok());
    }
    let used = "SELECT count(DISTINCT tableoid) FROM space_1";
    assert_eq!(bench.number(used).await, 6);
}

#[tokio::test]
async fn partitions_are_there_before_their_month() {
    let bench = Bench::start().await;
    bench.caller().put_one(row("text", &[1.0; 4])).await;
    let leaves = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'space_1'::regclass";
    assert_eq!(bench.number(leaves).await, 4);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number(leaves).await, 4);
    bench.clock.advance(DAY * 31);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number(leaves).await, 5);
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'space_1_2026_02'";
    assert_eq!(bench.number(indexes).await, 2);
    let storage = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'space_1_2026_02'::regclass
        AND attname = 'embedding' AND attstorage = 'm'";
    assert_eq!(bench.number(storage).await, 1);
}
