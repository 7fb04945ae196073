//! What the metrics tell of the tables of spaces.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use embermesh_postgres::Role;

use crate::harness::{Bench, SPACE, row, search};

const OTHER: &str = "test/other@2";

/// The value of the line that begins so.
fn value(bench: &Bench, begins: &str) -> Option<i64> {
    let text = bench.metrics.render();
    text.lines().find(|line| line.starts_with(begins))?.rsplit(' ').next()?.parse().ok()
}

/// PostgreSQL publishes statistics a moment later.
async fn until<F: Future<Output = bool>>(bench: &Bench, holds: impl Fn() -> F) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < end, "{}", bench.metrics.render());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn rows_bytes_and_scans_are_told_by_space_and_a_dropped_table_is_told_of_no_more() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    for n in 0..3 {
        caller.put_one(row(&n.to_string(), &[1.0, n as f32, 0.0, 0.0])).await;
    }
    caller.put_into(OTHER, vec![row("one", &[1.0, 0.0])]).await.unwrap();
    let rows = |space: &str| value(&bench, &format!("vector_rows{{space=\"{space}\"}}"));
    until(&bench, || async {
        bench.store.measure().await.unwrap();
        rows(SPACE) == Some(3) && rows(OTHER) == Some(1)
    })
    .await;
    let bytes = value(&bench, &format!("vector_table_bytes{{space=\"{SPACE}\"}}")).unwrap();
    let taken = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
        WHERE inhparent = 'store.space_1'::regclass";
    assert_eq!(bytes, bench.number(taken).await);

    // the statistics of PostgreSQL are lost in a crash, what a vacuum has seen is not
    let owner = bench.sql(Role::Owner).await;
    let vacuum = "SELECT relname::text FROM pg_class WHERE relname ~ '^space_1_[0-9_]+$' AND relkind = 'r'";
    for leaf in owner.system().query(vacuum, &[]).await.unwrap() {
        owner.system().batch_execute(&format!("VACUUM {}", leaf.get::<_, String>(0))).await.unwrap();
    }
    owner.system().batch_execute("SELECT pg_stat_reset()").await.unwrap();
    bench.store.measure().await.unwrap();
    assert_eq!(rows(SPACE), Some(3));

    // a search also looks whether other spaces have something for it; a table as small as its own is read as a whole
    let used = || {
        let text = bench.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("vector_index_scans_total{index=\"space_"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum::<i64>()
    };
    let before = used();
    until(&bench, || async {
        caller.search(search(&[1.0, 0.0, 0.0, 0.0])).await.unwrap();
        bench.store.measure().await.unwrap();
        used() > before
    })
    .await;
    let text = bench.metrics.render();
    assert!(text.contains("index=\"space_1_pkey\"") && text.contains("index=\"space_2_pkey\""), "{text}");
    assert!(!text.contains("index=\"space_1_20"), "months have lines of their own: {text}");

    // no service does this; somebody at psql may
    let drop = "DROP TABLE space_2 CASCADE; DELETE FROM embedding_keys WHERE space_no = 2; DELETE FROM spaces WHERE space_no = 2";
    owner.system().batch_execute(drop).await.unwrap();
    bench.store.measure().await.unwrap();
    let text = bench.metrics.render();
    assert!(!text.contains(OTHER) && !text.contains("index=\"space_2_"), "{text}");
    assert_eq!(rows(SPACE), Some(3));
}
