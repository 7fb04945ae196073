//! Dumps and snapshots of Redis; and maintenance, on the same system.

use embermesh_cache::testing::TestRedis;
use embermesh_private_postgres::TestDatabase;

use super::*;
use crate::running::wait_until;

#[tokio::test]
async fn dumps_and_snapshots_come_back_whole_or_not_at_all() {
    let redis = TestRedis::start();
    let system = System::start("pg_dump", &format!("redis: {{url: '{}'}}\n", redis.url())).await;
    system.work("kept", 12).await;
    let sql = system.sql().await;
    books::ended(&sql, system.simulator.calls().len()).await;
    let expected = held(&sql).await;

    // of one that was interrupted there is everything but the manifest
    system.done(&["backup"]);
    let first = backup_of(&system.storage(), "logical");
    let interrupted = first.with_file_name("logical-20990101T000000Z-0000");
    std::fs::create_dir(&interrupted).unwrap();
    std::fs::copy(first.join("embeddings.dump"), interrupted.join("embeddings.dump")).unwrap();
    let listed = system.done(&["backup", "list"]);
    assert!(listed.contains("NOT WHOLE: it was never finished") && listed.contains("redis-"), "{listed}");
    assert!(system.done(&["backup", "verify"]).contains("as they were written"));

    let database = TestDatabase::create().await;
    let into = database.url().expose_secret();
    let restored = system.done(&["restore", "--kind", "logical", "--into", into]);
    assert!(restored.contains(first.file_name().unwrap().to_str().unwrap()), "{restored}");
    let other = connect(into).await;
    assert_eq!(held(&other).await, expected);
    let closed = "SELECT count(*) FROM ledger.recoveries WHERE reconciled_at IS NULL";
    assert_eq!(other.query_one(closed, &[]).await.unwrap().get::<_, i64>(0), 1);
    assert!(
        system.refused(&["restore", "--kind", "logical", "--into", into]).contains("nothing was changed")
    );
    // the restored database serves
    let folder = TempDir::new().unwrap();
    for name in ["keys.json", "credential.keys", "audit.key"] {
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        std::fs::copy(system.data().join(name), folder.path().join("data").join(name)).unwrap();
    }
    let again =
        Running::up(folder.path(), &system.config.replace("backup:", "#backup:"), Some(into), free_port())
            .await;
    let mut reconcile = Command::new(bin("embermesh"));
    reconcile.args(["restore", "reconcile"]).env("DATABASE_URL", into).current_dir(folder.path());
    said(&["reconcile"], &reconcile.output().unwrap(), true);
    let body = json!({"agent_id": "keeper", "text": "kept 3", "model": SMALL});
    let ask = async || again.agent().post("/api/v1/embeddings", body.clone()).await;
    wait_until(|| async { ask().await.status == 200 }).await;
    assert_eq!(ask().await.ok()["deduplicated"], true);
    drop(again);
    let drill = system.done(&["drill", "--kind", "logical"]);
    assert!(drill.contains("the drill is green"), "{drill}");

    // the snapshot starts a Redis that knows what the first one knew
    let place = TempDir::new().unwrap();
    let folder = place.path().join("redis");
    let into = folder.to_str().unwrap();
    system.done(&["restore", "--kind", "redis", "--into", into]);
    let snapshot = std::fs::read(folder.join("dump.rdb")).unwrap();
    assert!(snapshot.starts_with(b"REDIS"));
    assert!(system.refused(&["restore", "--kind", "redis", "--into", into]).contains("already"));

    for file in [first.join("embeddings.dump"), backup_of(&system.storage(), "redis").join("dump.rdb")] {
        flip(&file);
        assert!(system.refused(&["backup", "verify"]).contains("DAMAGED"), "{}", file.display());
        flip(&file);
    }
    flip(&first.join("embeddings.dump"));
    let fresh = TestDatabase::create().await;
    let refused = system.refused(&["restore", "--kind", "logical", "--into", fresh.url().expose_secret()]);
    assert!(refused.contains("is not what was written"), "{refused}");
}

#[tokio::test]
async fn maintenance_runs_beside_the_traffic_and_reports_costs() {
    let system = System::start("pg_dump", "").await;
    system.work("busy", 5).await;
    let report = system.folder.path().join("costs.json");
    let agent = system.running.agent();
    let traffic = async {
        for n in 0..20 {
            embed(&agent, &format!("meanwhile {n}")).await;
        }
    };
    let mut command = system.command(&["maintenance", "--clear-cache", "--report", report.to_str().unwrap()]);
    let maintained = tokio::task::spawn_blocking(move || command.output().unwrap());
    let (maintained, ()) = tokio::join!(maintained, traffic);
    let said = said(&["maintenance"], &maintained.unwrap(), true);
    for line in ["store: all tables: vacuumed and analyzed", "ledger: ", "admin: ", "cache: being emptied"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert!(report["rows"].is_array(), "{report}");
    let sql = system.sql().await;
    let vacuumed = "SELECT count(*) FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
        WHERE s.schemaname = 'ledger' AND c.relkind = 'r' AND s.last_vacuum IS NULL";
    assert_eq!(sql.query_one(vacuumed, &[]).await.unwrap().get::<_, i64>(0), 0);
}
