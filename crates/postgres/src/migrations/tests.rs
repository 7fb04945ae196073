use embermesh_private_postgres::TestDatabase;
use futures::future::join_all;

use super::*;
use crate::{Database, PoolConfig, Role};

const FIRST: Migration =
    Migration { name: "V001__first", sql: "CREATE TABLE first (n int); SELECT pg_sleep(0.05)" };
const SECOND: Migration = Migration { name: "V002__second", sql: "CREATE TABLE second (n int)" };
const THIRD: Migration = Migration { name: "V003__third", sql: "CREATE TABLE third (n int)" };

async fn scalar(url: &SecretString, sql: &str) -> i64 {
    let owner = Database::connect(url, Schema::Store, Role::Owner, &PoolConfig::default()).await.unwrap();
    owner.system().query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn applies_what_is_new_and_nothing_twice() {
    let test = TestDatabase::create().await;
    assert_eq!(migrate(test.url(), Schema::Store, &[FIRST]).await.unwrap(), ["V1__first"]);
    assert!(migrate(test.url(), Schema::Store, &[FIRST]).await.unwrap().is_empty());
    assert_eq!(migrate(test.url(), Schema::Store, &[FIRST, SECOND]).await.unwrap(), ["V2__second"]);
    assert_eq!(scalar(test.url(), "SELECT count(*) FROM store.schema_history").await, 2);
}

#[tokio::test]
async fn schemas_of_one_database_have_histories_of_their_own() {
    let test = TestDatabase::create().await;
    for schema in [Schema::Admin, Schema::Ledger, Schema::Store] {
        assert_eq!(migrate(test.url(), schema, &[FIRST]).await.unwrap().len(), 1);
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'first' AND schemaname IN ('admin', 'ledger', 'store')";
    assert_eq!(scalar(test.url(), tables).await, 3);
}

#[tokio::test]
async fn eight_replicas_starting_at_once_migrate_once() {
    let test = TestDatabase::create().await;
    let replicas =
        (0..8).map(async |_| migrate(test.url(), Schema::Store, &[FIRST, SECOND, THIRD]).await.unwrap());
    let mut applied: Vec<usize> = join_all(replicas).await.iter().map(Vec::len).collect();
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 0, 0, 0, 0, 3]);
}

#[tokio::test]
async fn roles_are_shared_by_databases_that_migrate_at_the_same_time() {
    let databases = join_all((0..6).map(async |_| TestDatabase::create().await)).await;
    let outcomes = join_all(databases.iter().map(|test| migrate(test.url(), Schema::Admin, &[FIRST]))).await;
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let test = TestDatabase::create().await;
    migrate(test.url(), Schema::Store, &[FIRST]).await.unwrap();
    let changed = Migration { sql: "CREATE TABLE first (n bigint)", ..FIRST };
    let error = migrate(test.url(), Schema::Store, &[changed, SECOND]).await.unwrap_err();
    assert!(matches!(&error, DbError::Migration { schema: "store", .. }), "{error}");
    assert_eq!(scalar(test.url(), "SELECT count(*) FROM store.schema_history").await, 1);
}

#[tokio::test]
async fn a_migration_slipped_in_below_is_refused() {
    let test = TestDatabase::create().await;
    migrate(test.url(), Schema::Store, &[FIRST, THIRD]).await.unwrap();
    let error = migrate(test.url(), Schema::Store, &[FIRST, SECOND, THIRD]).await.unwrap_err();
    assert!(error.to_string().contains("give it a higher number"), "{error}");
}

#[tokio::test]
async fn a_build_older_than_the_database_may_start() {
    let test = TestDatabase::create().await;
    migrate(test.url(), Schema::Store, &[FIRST, SECOND]).await.unwrap();
    assert!(migrate(test.url(), Schema::Store, &[FIRST]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_and_says_what_failed() {
    let test = TestDatabase::create().await;
    let broken = Migration { name: "V002__broken", sql: "CREATE TABLE half (n int); SELECT nonsense" };
    let error = migrate(test.url(), Schema::Store, &[FIRST, broken]).await.unwrap_err().to_string();
    assert!(error.contains("V2__broken") && error.contains("42703"), "{error}");
    assert_eq!(scalar(test.url(), "SELECT count(*) FROM store.schema_history").await, 1);
    assert_eq!(scalar(test.url(), "SELECT count(*) FROM pg_tables WHERE tablename = 'half'").await, 0);
    assert_eq!(migrate(test.url(), Schema::Store, &[FIRST, SECOND]).await.unwrap(), ["V2__second"]);
}

#[tokio::test]
async fn a_name_without_a_version_is_refused() {
    let nameless = Migration { name: "first", ..FIRST };
    let nowhere = "postgresql://nobody@127.0.0.1:1/nothing".into();
    let error = migrate(&nowhere, Schema::Store, &[nameless]).await.unwrap_err();
    assert!(matches!(error, DbError::Migration { .. }), "{error}");
}

#[tokio::test]
async fn an_owner_without_superuser_rights_can_migrate_and_use_the_application_role() {
    let test = TestDatabase::create().await;
    // the shared roles exist; this user may not create the operator
    migrate(test.url(), Schema::Admin, &[FIRST]).await.unwrap();
    let owner =
        Database::connect(test.url(), Schema::Admin, Role::Owner, &PoolConfig::default()).await.unwrap();
    owner
        .system()
        .batch_execute(&format!(
            "CREATE ROLE {0} LOGIN CREATEROLE PASSWORD 'pw'; GRANT CREATE ON DATABASE {0} TO {0};
             GRANT embermesh_app TO {0} WITH ADMIN OPTION, SET FALSE",
            test.name()
        ))
        .await
        .unwrap();
    let url = test.url_as(test.name(), "pw");
    assert_eq!(migrate(&url, Schema::Ledger, &[FIRST]).await.unwrap().len(), 1);
    let app = Database::connect(&url, Schema::Ledger, Role::App, &PoolConfig::default()).await.unwrap();
    let denied = app.system().query("SELECT * FROM first", &[]).await.unwrap_err();
    assert!(matches!(denied, DbError::Denied(_)), "{denied}");
}

#[tokio::test]
async fn the_operator_reads_every_tenants_rows_and_changes_none() {
    let test = TestDatabase::create().await;
    let locked = Migration {
        name: "V001__locked",
        sql: "CREATE TABLE locked (n int); INSERT INTO locked VALUES (1);
              ALTER TABLE locked ENABLE ROW LEVEL SECURITY; ALTER TABLE locked FORCE ROW LEVEL SECURITY",
    };
    migrate(test.url(), Schema::Store, &[locked]).await.unwrap();
    let operator =
        Database::connect(test.url(), Schema::Store, Role::Operator, &PoolConfig::default()).await.unwrap();
    let row = operator.system().query_one("SELECT count(*) FROM locked", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    let denied = operator.system().execute("DELETE FROM locked", &[]).await.unwrap_err();
    assert!(matches!(denied, DbError::Denied(_)), "{denied}");
}
