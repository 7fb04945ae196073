//! Months leave whole, beside the traffic, and come back.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use embermesh_proto::internal::v1::StoreFilter;
use embermesh_vector_store::{Archive, Settings};
use futures::future::join_all;
use tempfile::TempDir;

use crate::harness::{Bench, Caller, SPACE, row, search};

const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

fn settings(folder: &Path) -> Settings {
    let archive = Archive { after_months: 1, folder: Some(folder.to_owned()) };
    Settings { archive, maintenance_seconds: 3_600, ..Settings::default() }
}

fn files(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn contents(caller: &Caller) -> Vec<String> {
    crate::harness::contents(caller.search(search(&[1.0, 0.5, 0.2, 0.1])).await.unwrap())
}

#[tokio::test]
async fn a_month_that_is_over_is_written_out_with_its_keys_and_dropped() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    let (one, two) = (bench.caller(), bench.caller());
    let old = one.put_one(row("november", &[1.0; 4])).await;
    two.put_one(row("november of another", &[1.0; 4])).await;
    bench.clock.advance(MONTH);
    one.put_one(row("december", &[1.0; 4])).await;
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (3, 3), "the month before the current one stays");

    bench.clock.advance(MONTH);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (1, 1));
    assert_eq!(files(&folder), ["space_1_2025_11.copy", "space_1_2025_11.json"]);
    assert_eq!(contents(&one).await, ["december"]);
    assert_eq!(contents(&two).await, Vec::<String>::new());
    assert!(one.get(&old).await.unwrap_err().to_string().contains("there is no embedding"));
    let manifest = std::fs::read_to_string(folder.path().join("space_1_2025_11.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!((&manifest["space_id"], &manifest["rows"]), (&SPACE.into(), &2.into()));

    // what is gone can be stored again, now as a row of this month
    let again = one.put_one(row("november", &[1.0; 4])).await;
    assert_ne!(again, old);
    assert!(one.get(&again).await.is_ok());
}

#[tokio::test]
async fn what_was_archived_comes_back_once_and_as_it_was() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    let (one, two) = (bench.caller(), bench.caller());
    let ids: Vec<String> = one
        .put((0..300).map(|n| row(&format!("row {n}"), &[1.0, n as f32, 2.0, 3.0])).collect())
        .await
        .into_iter()
        .map(|row| row.embedding_id)
        .collect();
    let other = two.put_one(row("another's", &[1.0; 4])).await;
    let before = join_all(ids.iter().map(|id| one.get(id))).await;
    bench.clock.advance(2 * MONTH);
    bench.store.maintain().await.unwrap();
    // one of the rows is stored again meanwhile: its text is not to be there twice
    one.put(vec![row("row 7", &[1.0, 7.0, 2.0, 3.0])]).await;
    assert_eq!(bench.rows_and_keys().await, (1, 1));

    let manifest = folder.path().join("space_1_2025_11.json");
    assert_eq!(bench.store.restore(&manifest).await.unwrap(), 300);
    assert_eq!(bench.rows_and_keys().await, (301, 301));
    assert_eq!(bench.store.restore(&manifest).await.unwrap(), 0, "all of it is there");
    for (id, before) in ids.iter().zip(before) {
        match one.get(id).await {
            Ok(row) => assert_eq!(row, before.unwrap()),
            Err(_) => assert_eq!(*id, ids[7]),
        }
    }
    assert!(two.get(&other).await.is_ok() && two.get(&ids[0]).await.is_err());
    // deduplication knows them again
    let again = one.put(vec![row("row 8", &[1.0, 8.0, 2.0, 3.0])]).await;
    assert!(again[0].deduplicated && again[0].embedding_id == ids[8]);
}

#[tokio::test]
async fn a_file_that_was_changed_brings_nothing_back() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    bench.caller().put_one(row("november", &[1.0; 4])).await;
    bench.clock.advance(2 * MONTH);
    bench.store.maintain().await.unwrap();
    let (manifest, data) =
        (folder.path().join("space_1_2025_11.json"), folder.path().join("space_1_2025_11.copy"));
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let error = bench.store.restore(&manifest).await.unwrap_err().to_string();
    assert!(error.contains("its hash differs"), "{error}");
    assert_eq!(bench.rows_and_keys().await, (0, 0));
}

#[tokio::test]
async fn a_month_that_leaves_again_takes_nothing_from_its_earlier_archive() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    let caller = bench.caller();
    let ids = [
        caller.put_one(row("one", &[1.0; 4])).await,
        caller.put_one(row("two", &[1.0, 0.0, 0.0, 0.0])).await,
    ];
    bench.clock.advance(2 * MONTH);
    bench.store.maintain().await.unwrap();
    let manifest = folder.path().join("space_1_2025_11.json");
    // one of them was stored again meanwhile, so only the other comes back
    let again = caller.put_one(row("one", &[1.0; 4])).await;
    assert_eq!(bench.store.restore(&manifest).await.unwrap(), 1);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (1, 1));
    assert_eq!(
        files(&folder),
        ["space_1_2025_11-2.copy", "space_1_2025_11-2.json", "space_1_2025_11.copy", "space_1_2025_11.json"]
    );
    let gone = StoreFilter { embedding_ids: vec![again], ..StoreFilter::default() };
    assert_eq!(caller.delete(gone, false).await.unwrap(), 1);
    assert_eq!(bench.store.restore(&folder.path().join("space_1_2025_11-2.json")).await.unwrap(), 1);
    assert_eq!(bench.store.restore(&manifest).await.unwrap(), 1);
    for id in &ids {
        assert!(caller.get(id).await.is_ok());
    }
}

/// A process that dies between the file and the end of the month, or while its keys go.
#[tokio::test]
async fn a_month_that_was_written_out_already_is_not_written_again() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    bench.caller().put_one(row("november", &[1.0; 4])).await;
    bench.clock.advance(2 * MONTH);
    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    // dropping waits for whoever looks at it
    let reader = owner.system().begin().await.unwrap();
    reader.query("SELECT FROM space_1_2025_11", &[]).await.unwrap();
    let cut_off = tokio::time::timeout(Duration::from_secs(3), bench.store.maintain()).await;
    assert!(cut_off.is_err());
    reader.rollback().await.unwrap();
    bench.store.maintain().await.unwrap();
    assert_eq!(files(&folder).len(), 2, "{:?}", files(&folder));
    assert_eq!(bench.rows_and_keys().await, (0, 0));
    assert_eq!(bench.store.restore(&folder.path().join("space_1_2025_11.json")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_manifest_whose_file_was_taken_away_does_not_stand_for_the_month() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    bench.caller().put_one(row("november", &[1.0; 4])).await;
    bench.clock.advance(2 * MONTH);
    bench.store.maintain().await.unwrap();
    let manifest = folder.path().join("space_1_2025_11.json");
    bench.store.restore(&manifest).await.unwrap();
    std::fs::remove_file(folder.path().join("space_1_2025_11.copy")).unwrap();
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (0, 0));
    assert_eq!(bench.store.restore(&manifest).await.unwrap(), 1);
}

/// Each step of an archiving, cut off right after it.
#[tokio::test]
async fn an_archiving_that_was_cut_off_is_taken_up() {
    for steps in 0..3 {
        let folder = TempDir::new().unwrap();
        let bench = Bench::with(settings(folder.path())).await;
        let caller = bench.caller();
        caller.put((0..20).map(|n| row(&format!("row {n}"), &[1.0, n as f32, 0.0, 0.0])).collect()).await;
        bench.clock.advance(2 * MONTH);
        let owner = bench.sql(embermesh_postgres::Role::Owner).await;
        if steps > 0 {
            let detach = "ALTER TABLE space_1 DETACH PARTITION space_1_2025_11";
            owner.system().batch_execute(detach).await.unwrap();
        }
        if steps > 1 {
            // half a file, and no manifest
            std::fs::write(folder.path().join("space_1_2025_11.part"), b"PGCOPY").unwrap();
        }
        bench.store.maintain().await.unwrap();
        assert_eq!(bench.rows_and_keys().await, (0, 0), "after step {steps}");
        assert_eq!(files(&folder), ["space_1_2025_11.copy", "space_1_2025_11.json"], "after step {steps}");
        assert_eq!(bench.store.restore(&folder.path().join("space_1_2025_11.json")).await.unwrap(), 20);
    }
}

#[tokio::test]
async fn nobody_who_reads_or_writes_notices_a_month_that_leaves() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::with(settings(folder.path())).await;
    let caller = bench.caller();
    let rows = |from: usize| {
        (from..from + 500).map(|n| row(&format!("row {n}"), &[1.0, n as f32, 2.0, 3.0])).collect()
    };
    for from in (0..5_000).step_by(500) {
        caller.put(rows(from)).await;
    }
    bench.clock.advance(2 * MONTH);
    caller.put(rows(5_000)).await;
    let over = AtomicBool::new(false);
    let searching = async || {
        let mut searches = 0;
        while !over.load(Ordering::Relaxed) {
            let found = caller.search(search(&[1.0, 3.0, 2.0, 3.0])).await.unwrap();
            assert_eq!(found.hits.len(), 10);
            searches += 1;
        }
        searches
    };
    let storing = async || {
        let mut stored = 0;
        while !over.load(Ordering::Relaxed) {
            caller.put(vec![row(&format!("new {stored}"), &[2.0, stored as f32, 1.0, 1.0])]).await;
            stored += 1;
        }
        stored
    };
    let leaving = async {
        bench.store.maintain().await.unwrap();
        over.store(true, Ordering::Relaxed);
    };
    let (one, two, stored, ()) = tokio::join!(searching(), searching(), storing(), leaving);
    assert!(one > 0 && two > 0 && stored > 0);
    assert_eq!(bench.rows_and_keys().await, (500 + stored, 500 + stored));
}

#[tokio::test]
async fn the_statements_that_people_archive_with_by_hand_work() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("old", &[1.0, 2.0, 3.0, 4.0])).await;
    bench.clock.advance(2 * MONTH);
    caller.put_one(row("new", &[1.0; 4])).await;
    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    for statement in [
        "INSERT INTO embeddings_archive SELECT * FROM embeddings WHERE created_at < '2025-12-01'",
        "DELETE FROM embeddings WHERE created_at < '2025-12-01'",
    ] {
        owner.system().batch_execute(statement).await.unwrap();
    }
    assert_eq!(bench.rows_and_keys().await, (1, 1));
    assert_eq!(contents(&caller).await, ["new"]);
    let archived =
        "SELECT count(*) FROM embeddings_archive WHERE content = 'old' AND embedding::text = '[1,2,3,4]'";
    assert_eq!(bench.number(archived).await, 1);
    // a row that was moved by hand is nobody's to be found in the way of a new one
    assert!(!caller.put(vec![row("old", &[1.0, 2.0, 3.0, 4.0])]).await[0].deduplicated);
}
