//! Base backups and the archived log.

use super::*;
use crate::running::wait_until;

/// Waits until everything that was committed by now is in the archive.
async fn archived(sql: &tokio_postgres::Client) {
    let row = sql
        .query_one("SELECT pg_walfile_name(pg_current_wal_insert_lsn()), pg_switch_wal()::text", &[])
        .await
        .unwrap();
    let segment: String = row.get(0);
    wait_until(|| async {
        let last = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";
        sql.query_one(last, &[]).await.unwrap().get::<_, String>(0) >= segment
    })
    .await;
}

#[tokio::test]
async fn a_destroyed_data_folder_comes_back_with_its_rows_its_money_and_its_record_of_changes() {
    let mut system = System::start("pg_basebackup", "").await;
    system.work("before", 15).await;
    let made = system.done(&["backup"]);
    assert!(made.starts_with("base-"), "{made}");
    system.work("after", 15).await;
    let sql = system.sql().await;
    books::ended(&sql, system.simulator.calls().len()).await;
    archived(&sql).await;
    let expected = held(&sql).await;
    assert_eq!((expected.rows, expected.attempts), (30, 30));

    // while it runs, beside it: to the end of the log, and to a moment that it chooses
    let drill = system.done(&["drill"]);
    for line in [
        "the drill is green",
        "RPO ",
        "RTO ",
        "ok      books: 0 differences",
        "0 faults",
        "30 rows, 30 keys, 0 without",
    ] {
        assert!(drill.contains(line), "{line}: {drill}");
    }
    let drill = system.done(&["drill", "--at", "random"]);
    assert!(drill.contains("the drill is green"), "{drill}");
    let listed = system.done(&["backup", "list"]);
    assert!(listed.contains("PostgreSQL 16"), "{listed}");
    let verified = system.done(&["backup", "verify"]);
    assert!(verified.contains("none is missing"), "{verified}");
    drop(sql);

    // nothing is written over
    let refused = system.refused(&["restore", "--kind", "base"]);
    assert!(refused.contains("is there already and stays"), "{refused}");
    system.destroy();
    let restored = system.done(&["restore", "--kind", "base"]);
    for line in ["every file is as it was written", "audit.key", "budgets are closed"] {
        assert!(restored.contains(line), "{line}: {restored}");
    }
    system.start_again().await;
    let sql = system.sql().await;
    let back = held(&sql).await;
    assert_eq!(back.rows, expected.rows);
    assert!(back.attempts >= expected.attempts && back.charged >= expected.charged, "{back:?} {expected:?}");
    assert!(back.records >= expected.records);
    let (agent, admin) = (system.running.agent(), system.running.admin());

    // budgets are closed until somebody says that all is told
    let new = json!({"agent_id": "keeper", "text": "something new", "model": SMALL});
    let refused = agent.post("/api/v1/embeddings", new.clone()).await;
    assert!(refused.refused(503, "unavailable").contains("restore reconcile"), "{}", refused.body);
    let verified = admin.post("/api/v1/admin/audit/verify", json!({})).await.ok();
    assert_eq!(verified["intact"], true, "{verified}");
    let told = system.done(&["restore", "reconcile"]);
    assert!(told.contains("budgets are open within five seconds"), "{told}");
    wait_until(|| async { agent.post("/api/v1/embeddings", new.clone()).await.status == 200 }).await;
    assert!(system.done(&["restore", "reconcile"]).contains("budgets are open"));
    assert_eq!(embed(&agent, "after 3").await["deduplicated"], true);
    books::ended(&sql, 32).await;
    for words in [&["costs", "verify"], &["audit", "verify"]] {
        let mut command = Command::new(bin("embermesh"));
        command.args(words).arg("--data-dir").arg(system.data());
        said(words, &command.output().unwrap(), true);
    }
    // the restored system is backed up in its turn, on a history of its own
    system.done(&["backup"]);
    archived(&sql).await;
    assert!(system.done(&["drill"]).contains("the drill is green"));
    wait_until(|| async {
        let metrics = crate::secrets::metrics(system.port);
        metrics.contains("backup_last_success_timestamp_seconds{kind=\"base\"}")
            && metrics.contains("restore_drill_rto_seconds")
            && metrics.contains("ledger_budgets_closed 0")
    })
    .await;
}

#[tokio::test]
async fn a_changed_or_missing_piece_of_a_base_backup_or_of_the_log_is_found() {
    let mut system = System::start("pg_basebackup", "").await;
    system.work("one", 3).await;
    system.done(&["backup"]);
    system.work("two", 3).await;
    let sql = system.sql().await;
    archived(&sql).await;
    system.work("three", 1).await;
    archived(&sql).await;
    drop(sql);
    system.destroy();
    let (storage, base) = (system.storage(), backup_of(&system.storage(), "base"));

    for name in ["base.tar.gz", "pg_wal.tar.gz", "backup_manifest", "files/audit.key"] {
        flip(&base.join(name));
        assert!(system.refused(&["backup", "verify"]).contains("DAMAGED"), "{name}");
        assert!(system.refused(&["restore", "--kind", "base"]).contains("is not what was written"), "{name}");
        assert!(system.refused(&["drill"]).contains("is not what was written"), "{name}");
        flip(&base.join(name));
    }
    // what the manifest does not know is found by PostgreSQL itself; what it knows is in the folder or not
    std::fs::rename(base.join("pg_wal.tar.gz"), base.join("x")).unwrap();
    assert!(system.refused(&["restore", "--kind", "base"]).contains("no whole base backup"));
    std::fs::rename(base.join("x"), base.join("pg_wal.tar.gz")).unwrap();

    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(storage.join("wal")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|path| path.file_name().unwrap().len() == 24);
    segments.sort();
    let (last, middle) = (segments[segments.len() - 1].clone(), segments[segments.len() - 2].clone());
    flip(&last);
    assert!(system.refused(&["backup", "verify"]).contains("DAMAGED"));
    // recovery stops, instead of taking it for the end of the log
    system.refused(&["restore", "--kind", "base"]);
    assert!(!system.data().join("postgres/data").exists(), "half of a restore was left");
    flip(&last);
    std::fs::rename(&middle, storage.join("aside")).unwrap();
    for words in [&["backup", "verify"][..], &["restore", "--kind", "base"], &["drill"]] {
        let said = system.refused(words);
        assert!(
            said.contains("is missing") && said.contains(middle.file_name().unwrap().to_str().unwrap()),
            "{said}"
        );
    }
    std::fs::rename(storage.join("aside"), &middle).unwrap();
    assert!(system.done(&["drill", "--queries", "0"]).contains("the drill is green"));
}
