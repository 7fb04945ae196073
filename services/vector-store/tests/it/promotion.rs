//! A very large tenant has partitions of its own from the next months on, and everybody finds what they found before.

use std::{collections::HashSet, path::Path, time::Duration};

use embermesh_postgres::Role;
use embermesh_proto::{
    internal::v1::{StoreFilter, StoreSearchRequest},
    to_le_bytes,
};
use embermesh_vector_store::{Archive, Hnsw, Settings};
use tempfile::TempDir;

use crate::harness::{Bench, Caller, Numbers, row};

const DIMENSIONS: usize = 16;
const SPACE: &str = "test/promoted@16";
const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

/// A tenant is large with 1,000 rows in a month, and searched by an index with 300.
fn settings() -> Settings {
    Settings {
        promote_rows: 1_000,
        exact_max_rows: 100,
        hnsw: Hnsw { min_rows: 300, min_tenant_rows: 300, ..Hnsw::default() },
        maintenance_seconds: 3_600,
        ..Settings::default()
    }
}

fn archiving(folder: &Path) -> Settings {
    Settings { archive: Archive { after_months: 1, folder: Some(folder.to_owned()) }, ..settings() }
}

/// Puts rows `from` to `until`, named by their number.
async fn fill(caller: &Caller, from: usize, until: usize) {
    let mut numbers = Numbers::new(from as u64 + 7);
    let rows = (from..until).map(|n| row(&n.to_string(), &numbers.vector(DIMENSIONS))).collect();
    caller.put_into(SPACE, rows).await.unwrap();
}

async fn found(caller: &Caller, query: &[f32], exact: bool) -> (HashSet<String>, String) {
    let request = StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(query),
        limit: 20,
        exact,
        ..StoreSearchRequest::default()
    };
    let reply = caller.search(request).await.unwrap();
    let scan = reply.scan.clone();
    (crate::harness::contents(reply).into_iter().collect(), scan)
}

fn vector(seed: u64) -> Vec<f32> {
    Numbers::new(seed).vector(DIMENSIONS)
}

/// Rows in a partition.
async fn rows_in(bench: &Bench, leaf: &str) -> i64 {
    bench.number(&format!("SELECT count(*) FROM {leaf}")).await
}

/// A large tenant and a middle one, with rows of this month and, promoted meanwhile, of the next one.
async fn grown(settings: Settings) -> (Bench, Caller, Caller) {
    let bench = Bench::with(settings).await;
    let (large, middle) = (bench.caller(), bench.caller());
    fill(&large, 0, 1_200).await;
    fill(&middle, 0, 500).await;
    // the statistics of PostgreSQL come with the first round's index
    bench.store.maintain().await.unwrap();
    bench.store.maintain().await.unwrap();
    bench.clock.advance(MONTH);
    fill(&large, 1_200, 2_400).await;
    fill(&middle, 500, 1_000).await;
    (bench, large, middle)
}

#[tokio::test]
async fn rows_of_the_next_months_go_where_only_that_tenants_are() {
    let (bench, ..) = grown(settings()).await;
    assert_eq!(bench.number("SELECT count(*) FROM promoted_tenants").await, 1);
    assert_eq!(rows_in(&bench, "space_1_2025_11").await, 1_700, "no row is moved");
    assert_eq!(rows_in(&bench, "space_1_t1_2025_12").await, 1_200);
    assert_eq!(rows_in(&bench, "space_1_rest_2025_12").await, 500);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM promoted_tenants").await, 1);
    // as every month's are
    assert_eq!(rows_in(&bench, "space_1_t1_2026_02").await, 0);
    let alike = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'space_1_t1_2026_02'::regclass
        AND attname = 'embedding' AND attstorage = 'm'";
    assert_eq!(bench.number(alike).await, 1);
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'space_1_t1_2026_02'";
    assert_eq!(bench.number(indexes).await, 2);
}

#[tokio::test]
async fn each_tenant_is_searched_by_the_indexes_that_hold_its_rows() {
    // scans are counted: those of a measurement would be too
    let unmeasured = Hnsw { recall: 0.0, ..settings().hnsw };
    let (bench, large, middle) = grown(Settings { hnsw: unmeasured, ..settings() }).await;
    let queries: Vec<_> = (0..30).map(vector).collect();
    // while one of its months has no index yet, its rows are read beside the other's
    assert_eq!(found(&large, &queries[0], false).await.0, found(&large, &queries[0], true).await.0);
    bench.store.maintain().await.unwrap();
    let indexes = "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indisvalid AND c.relname LIKE '%\\_hnsw'";
    assert_eq!(bench.number(indexes).await, 3, "November's, and two of December");
    for caller in [&large, &middle] {
        let mut same = 0;
        for query in &queries {
            let (near, scan) = found(caller, query, false).await;
            assert_eq!((near.len(), scan.as_str()), (20, "hnsw"));
            same += near.intersection(&found(caller, query, true).await.0).count();
        }
        assert!(same >= 570, "{same} of 600");
    }
    for leaf in ["space_1_t1_2025_12", "space_1_rest_2025_12"] {
        let mut scans = 0;
        // a backend tells of its scans when it has been idle for a while
        for _ in 0..1_200 {
            scans = bench.number(&format!("SELECT pg_stat_get_numscans('{leaf}_hnsw'::regclass)")).await;
            if scans >= 30 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((30..40).contains(&scans), "{scans} scans of {leaf}, by its own tenants alone");
    }
}

#[tokio::test]
async fn rows_are_read_and_deleted_wherever_they_are() {
    let (bench, large, middle) = grown(settings()).await;
    let one = large.put_into(SPACE, vec![row("one more", &vector(1_300))]).await.unwrap().remove(0);
    assert!(large.get(&one.embedding_id).await.is_ok() && middle.get(&one.embedding_id).await.is_err());
    let all = StoreFilter { space_id: SPACE.into(), ..StoreFilter::default() };
    let count = large.delete(all.clone(), true).await.unwrap();
    assert_eq!(large.delete(all, false).await.unwrap(), count);
    assert_eq!(rows_in(&bench, "space_1_t1_2025_12").await, 0);
    assert_eq!(bench.rows_and_keys().await, (1_000, 1_000));
}

#[tokio::test]
async fn a_space_in_use_is_left_for_the_next_round() {
    let bench = Bench::with(settings()).await;
    let large = bench.caller();
    fill(&large, 0, 1_200).await;
    bench.store.maintain().await.unwrap();
    let owner = bench.sql(Role::Owner).await;
    let reader = owner.system().begin().await.unwrap();
    reader.query("SELECT count(*) FROM space_1", &[]).await.unwrap();
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM promoted_tenants").await, 0);
    reader.rollback().await.unwrap();
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM promoted_tenants").await, 1);
}

#[tokio::test]
async fn a_divided_month_leaves_whole_and_comes_back() {
    let folder = TempDir::new().unwrap();
    let (bench, large, middle) = grown(archiving(folder.path())).await;
    let query = vector(5);
    let before = [found(&large, &query, true).await.0, found(&middle, &query, true).await.0];
    bench.clock.advance(2 * MONTH);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (0, 0));
    for month in ["2025_11", "2025_12"] {
        bench.store.restore(&folder.path().join(format!("space_1_{month}.json"))).await.unwrap();
    }
    assert_eq!(bench.rows_and_keys().await, (3_400, 3_400));
    assert_eq!([found(&large, &query, true).await.0, found(&middle, &query, true).await.0], before);
    assert_eq!(rows_in(&bench, "space_1_t1_2025_12").await, 1_200);
    // what was restored is archived again
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (0, 0));
}
