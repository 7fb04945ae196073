//! The approximate index: built when it is due, used when it pays, and never the reason for a short answer.

use std::collections::HashSet;

use embermesh_postgres::Role;
use embermesh_proto::{
    internal::v1::{PutRow, StoreFilter, StoreSearchRequest},
    to_le_bytes,
};
use embermesh_vector_store::{Hnsw, IndexKind, Ivfflat, Settings};

use crate::harness::{Bench, Caller, Numbers, row};

const DIMENSIONS: usize = 32;
const SPACE: &str = "test/clustered@32";
const ROWS: usize = 6_000;

fn settings() -> Settings {
    Settings {
        exact_max_rows: 1_000,
        hnsw: Hnsw { min_rows: 3_000, ..Hnsw::default() },
        // the tests say when
        maintenance_seconds: 3_600,
        ..Settings::default()
    }
}

/// 100 clusters; every 500th row is of another agent, every 50th is marked.
async fn fill(caller: &Caller) -> Vec<Vec<f32>> {
    let mut numbers = Numbers::new(1);
    let centres: Vec<_> = (0..100).map(|_| numbers.vector(DIMENSIONS)).collect();
    let vectors: Vec<Vec<f32>> =
        (0..ROWS).map(|n| centres[n % 100].iter().map(|x| x + 0.2 * numbers.next()).collect()).collect();
    for (part, chunk) in vectors.chunks(1_500).enumerate() {
        let rows = chunk.iter().enumerate().map(|(n, vector)| PutRow {
            agent_id: if n % 500 == 0 { "rare" } else { "common" }.into(),
            metadata: if n % 50 == 0 { r#"{"marked":true}"# } else { "{}" }.into(),
            ..row(&(part * 1_500 + n).to_string(), vector)
        });
        caller.put_into(SPACE, rows.collect()).await.unwrap();
    }
    centres
}

async fn found(caller: &Caller, request: StoreSearchRequest) -> (HashSet<String>, String) {
    let reply = caller.search(request).await.unwrap();
    let scan = reply.scan.clone();
    (crate::harness::contents(reply).into_iter().collect(), scan)
}

#[tokio::test]
async fn is_built_at_its_size_and_finds_nearly_what_an_exact_search_finds() {
    // fewer than a search needs: how many those are is measured
    let few = Hnsw { ef_search: 10, ..settings().hnsw };
    let bench = Bench::with(Settings { hnsw: few, ..settings() }).await;
    let caller = bench.caller();
    let centres = fill(&caller).await;
    let request = |centre: &[f32]| StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(centre),
        limit: 10,
        ..StoreSearchRequest::default()
    };
    assert_eq!(found(&caller, request(&centres[0])).await.1, "exact");
    bench.store.maintain().await.unwrap();
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relname LIKE '%\\_hnsw' AND i.indisvalid";
    assert_eq!(bench.number(valid).await, 1);
    let measured = "SELECT count(*) FROM store.index_recall WHERE recall >= 0.99 AND ef_search > 10";
    assert_eq!(bench.number(measured).await, 1);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM store.index_recall").await, 1);

    let mut same = 0;
    for centre in &centres {
        let (approximate, scan) = found(&caller, request(centre)).await;
        assert_eq!((approximate.len(), scan.as_str()), (10, "hnsw"));
        let (exact, scan) = found(&caller, StoreSearchRequest { exact: true, ..request(centre) }).await;
        assert_eq!(scan, "exact");
        same += approximate.intersection(&exact).count();
    }
    let recall = same as f64 / (10 * centres.len()) as f64;
    assert!(recall >= 0.95, "recall {recall}");
    // the planner took the index, not a way around it
    let scans = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname LIKE '%\\_hnsw'";
    let mut used = 0;
    for _ in 0..200 {
        used = bench.number(scans).await;
        if used >= 100 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(used >= 100, "{used} index scans");
    assert!(bench.metrics.render().contains(r#"vector_search_duration_seconds_count{scan="hnsw"} 100"#));
}

#[tokio::test]
async fn filtered_and_small_searches_are_complete() {
    let bench = Bench::with(settings()).await;
    let caller = bench.caller();
    let centres = fill(&caller).await;
    let small = bench.caller();
    small.put_into(SPACE, vec![row("small", &[0.5; DIMENSIONS])]).await.unwrap();
    bench.store.maintain().await.unwrap();
    let request = |filter: StoreFilter, limit: u32| StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(&centres[7]),
        filter: Some(filter),
        limit,
        ..StoreSearchRequest::default()
    };
    // few candidates of a small agent or tenant are all read
    let rare = StoreFilter { agent_id: "rare".into(), ..StoreFilter::default() };
    let (rows, scan) = found(&caller, request(rare, 20)).await;
    assert_eq!((rows.len(), scan.as_str()), (12, "exact"));
    let (rows, scan) = found(&small, request(StoreFilter::default(), 5)).await;
    assert_eq!((rows.len(), scan.as_str()), (1, "exact"));
    // what the index does not reach is read after all
    let marked = StoreFilter { metadata: r#"{"marked":true}"#.into(), ..StoreFilter::default() };
    let (rows, _) = found(&caller, request(marked, 200)).await;
    assert_eq!(rows.len(), 120);
    let (rows, _) = found(&caller, request(StoreFilter::default(), 1_000)).await;
    assert_eq!(rows.len(), 1_000);
}

#[tokio::test]
async fn what_a_crashed_build_left_is_replaced() {
    let bench = Bench::with(settings()).await;
    fill(&bench.caller()).await;
    let owner = bench.sql(Role::Owner).await;
    // PostgreSQL leaves exactly this behind
    owner
        .system()
        .batch_execute(
            "CREATE INDEX space_1_2025_11_hnsw ON space_1_2025_11 USING hnsw (embedding halfvec_cosine_ops)",
        )
        .await
        .unwrap();
    let spoil = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'space_1_2025_11_hnsw'::regclass";
    owner.system().batch_execute(spoil).await.unwrap();
    let old = bench.number("SELECT 'space_1_2025_11_hnsw'::regclass::oid::bigint").await;
    bench.store.maintain().await.unwrap();
    let new = "SELECT i.indexrelid::bigint FROM pg_index i
        WHERE i.indexrelid = 'space_1_2025_11_hnsw'::regclass AND i.indisvalid";
    assert_ne!(bench.number(new).await, old);
}

#[tokio::test]
async fn lists_are_built_and_searched_where_they_are_set() {
    let lists = Ivfflat { rows_per_list: 100, probes: 20, ..Ivfflat::default() };
    let bench = Bench::with(Settings { index: IndexKind::Ivfflat, ivfflat: lists, ..settings() }).await;
    let caller = bench.caller();
    let centres = fill(&caller).await;
    bench.store.maintain().await.unwrap();
    let (mut same, mut of) = (0, 0);
    for centre in &centres {
        let request = StoreSearchRequest {
            space_id: SPACE.into(),
            query: to_le_bytes(centre),
            limit: 10,
            ..StoreSearchRequest::default()
        };
        let (approximate, scan) = found(&caller, request.clone()).await;
        assert_eq!((approximate.len(), scan.as_str()), (10, "ivfflat"));
        let (exact, _) = found(&caller, StoreSearchRequest { exact: true, ..request }).await;
        same += approximate.intersection(&exact).count();
        of += 10;
    }
    assert!(same * 10 >= of * 9, "{same} of {of}");
}

#[tokio::test]
async fn many_small_tenants_earn_no_index_and_a_large_one_does() {
    let bench = Bench::with(settings()).await;
    let mut numbers = Numbers::new(5);
    for _ in 0..8 {
        let caller = bench.caller();
        let rows = (0..500).map(|n| row(&n.to_string(), &numbers.vector(DIMENSIONS)));
        caller.put_into(SPACE, rows.collect()).await.unwrap();
    }
    bench.store.maintain().await.unwrap();
    let indexes = "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_hnsw'";
    assert_eq!(bench.number(indexes).await, 0);
    fill(&bench.caller()).await;
    // a partition that was just looked at is left alone for a moment
    for _ in 0..600 {
        bench.store.maintain().await.unwrap();
        if bench.number(indexes).await == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the large tenant earned no index");
}

#[tokio::test]
async fn months_with_and_without_an_index_are_searched_together() {
    let bench = Bench::with(settings()).await;
    let caller = bench.caller();
    let centres = fill(&caller).await;
    bench.store.maintain().await.unwrap();
    // nothing is outside of the indexed month yet, which must not be remembered
    let request = StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(&centres[0]),
        limit: 10,
        ..StoreSearchRequest::default()
    };
    assert_eq!(found(&caller, request).await.1, "hnsw");
    bench.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    // nearer to each centre than anything before
    let rows = centres.iter().enumerate().map(|(n, centre)| row(&format!("new {n}"), centre));
    caller.put_into(SPACE, rows.collect()).await.unwrap();
    for (n, centre) in centres.iter().enumerate().take(20) {
        let request = StoreSearchRequest {
            space_id: SPACE.into(),
            query: to_le_bytes(centre),
            limit: 10,
            ..StoreSearchRequest::default()
        };
        let reply = caller.search(request.clone()).await.unwrap();
        assert_eq!(reply.scan, "hnsw");
        assert!(reply.hits.is_sorted_by(|a, b| a.similarity >= b.similarity));
        let names = crate::harness::contents(reply);
        assert_eq!((names[0].as_str(), names.len()), (format!("new {n}").as_str(), 10));
        // the new month alone has no index to ask
        let after = bench.clock.clock().now() - std::time::Duration::from_secs(24 * 3600);
        let filter = StoreFilter { created_after: Some(after.into()), ..StoreFilter::default() };
        let reply = caller.search(StoreSearchRequest { filter: Some(filter), ..request }).await.unwrap();
        assert_eq!(reply.scan, "exact");
        assert!(reply.hits.iter().all(|hit| hit.row.as_ref().unwrap().content.starts_with("new")));
    }
}

#[tokio::test]
async fn rows_behind_those_of_another_tenant_are_found_in_every_month() {
    let bench = Bench::with(settings()).await;
    let (caller, stranger) = (bench.caller(), bench.caller());
    let centres = fill(&caller).await;
    let mut numbers = Numbers::new(2);
    let mut near = |noise: f32| centres[7].iter().map(|x| x + noise * numbers.next()).collect::<Vec<f32>>();
    bench.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    // more than a search looks at first, and all nearer than the caller's, which are nearer than what it has in the other month
    let strangers: Vec<PutRow> = (0..200).map(|n| row(&format!("stranger {n}"), &near(0.01))).collect();
    stranger.put_into(SPACE, strangers).await.unwrap();
    let hidden: Vec<PutRow> = (0..20).map(|n| row(&format!("hidden {n}"), &near(0.05))).collect();
    caller.put_into(SPACE, hidden).await.unwrap();
    fill(&stranger).await;
    bench.store.maintain().await.unwrap();
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relname LIKE '%\\_hnsw' AND i.indisvalid";
    assert_eq!(bench.number(valid).await, 2);
    let request = StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(&centres[7]),
        limit: 10,
        ..StoreSearchRequest::default()
    };
    // what was found out by the first is known to the second
    for _ in 0..2 {
        let (rows, scan) = found(&caller, request.clone()).await;
        assert_eq!((rows.len(), scan.as_str()), (10, "hnsw"));
        assert!(rows.iter().all(|name| name.starts_with("hidden")), "{rows:?}");
    }
    let (rows, scan) = found(&stranger, request).await;
    assert_eq!((rows.len(), scan.as_str()), (10, "hnsw"));
    assert!(rows.iter().all(|name| name.starts_with("stranger")), "{rows:?}");
}

#[tokio::test]
async fn rows_that_an_index_does_not_reach_are_found_beside_a_month_that_has_enough() {
    // one list of thirty is looked at, and no more
    let lists = Ivfflat { rows_per_list: 100, probes: 1, max_probes: 1 };
    let index = IndexKind::Ivfflat;
    let bench = Bench::with(Settings { exact_max_rows: 100, index, ivfflat: lists, ..settings() }).await;
    let (caller, stranger) = (bench.caller(), bench.caller());
    let mut numbers = Numbers::new(3);
    let centre = numbers.vector(DIMENSIONS);
    let mut near = |towards: f32, noise: f32| {
        centre.iter().map(|x| towards * x + noise * numbers.next()).collect::<Vec<f32>>()
    };
    let mut rows = |name: &str, count: usize, towards: f32, noise: f32| -> Vec<PutRow> {
        (0..count).map(|n| row(&format!("{name} {n}"), &near(towards, noise))).collect()
    };
    // all nearer than the caller's
    for part in 0..3 {
        stranger.put_into(SPACE, rows(&format!("stranger {part}"), 1_000, 1.0, 0.3)).await.unwrap();
    }
    caller.put_into(SPACE, rows("hidden", 20, 1.0, 2.0)).await.unwrap();
    bench.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    for part in 0..3 {
        caller.put_into(SPACE, rows(&format!("far {part}"), 1_000, -1.0, 1.0)).await.unwrap();
    }
    bench.store.maintain().await.unwrap();
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relname LIKE '%\\_ivfflat' AND i.indisvalid";
    assert_eq!(bench.number(valid).await, 2);
    let request = StoreSearchRequest {
        space_id: SPACE.into(),
        query: to_le_bytes(&centre),
        limit: 10,
        ..StoreSearchRequest::default()
    };
    let marked = StoreFilter { created_after: Some(std::time::UNIX_EPOCH.into()), ..StoreFilter::default() };
    let (exact, _) = found(&caller, StoreSearchRequest { exact: true, ..request.clone() }).await;
    assert!(exact.iter().all(|name| name.starts_with("hidden")), "{exact:?}");
    // found out, remembered, and where nothing is
    for filter in [None, None, Some(marked)] {
        assert_eq!(found(&caller, StoreSearchRequest { filter, ..request.clone() }).await.0, exact);
    }
}
