//! The user who owns the schema needs no superuser rights, once the extension is there.

use std::time::Duration;

use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::internal::v1::KeyState;
use embermesh_vector_store::{Archive, Hnsw, Settings};

use crate::harness::{Bench, row, search};

#[tokio::test]
async fn creates_spaces_builds_indexes_expires_and_archives_without_superuser_rights() {
    let first = Bench::start().await;
    // roles are there now; a database of its own for a user of little power
    let database = TestDatabase::create().await;
    let name = database.name().to_owned();
    let superuser =
        Database::connect(database.url(), Schema::Store, Role::Owner, &PoolConfig::default()).await.unwrap();
    let prepare = format!(
        "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
         CREATE ROLE {name} LOGIN PASSWORD 'pw'; GRANT CREATE ON DATABASE {name} TO {name}; GRANT embermesh_app TO {name}"
    );
    superuser.system().batch_execute(&prepare).await.unwrap();
    drop(first);

    let url = database.url_as(&name, "pw");
    let folder = tempfile::TempDir::new().unwrap();
    let settings = Settings {
        hnsw: Hnsw { min_rows: 2, min_tenant_rows: 2, ..Hnsw::default() },
        archive: Archive { after_months: 1, folder: Some(folder.path().to_owned()) },
        ..Settings::default()
    };
    let bench = Bench::logged_in(database, url, settings).await;
    let caller = bench.caller();
    caller.put(vec![row("one", &[1.0, 0.0, 0.0, 0.0]), row("two", &[0.0, 1.0, 0.0, 0.0])]).await;
    assert_eq!(caller.take("k", 1, 1).await, KeyState::Taken);
    assert_eq!(caller.search(search(&[1.0; 4])).await.unwrap().hits.len(), 2);

    bench.clock.advance(Duration::from_secs(25 * 3600));
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM answers").await, 0);
    assert_eq!(bench.number("SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%hnsw'").await, 1);
    assert_eq!(bench.rows_and_keys().await, (2, 2));

    bench.clock.advance(Duration::from_secs(62 * 24 * 3600));
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (0, 0));
    assert_eq!(bench.store.restore(&folder.path().join("space_1_2025_11.json")).await.unwrap(), 2);
    assert_eq!(caller.search(search(&[1.0; 4])).await.unwrap().hits.len(), 2);
}
