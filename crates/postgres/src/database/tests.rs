use std::num::NonZeroUsize;

use embermesh_private_postgres::{PrivatePostgres, TestDatabase, test_options};
use futures::FutureExt as _;
use futures::future::{join_all, poll_immediate};
use secrecy::ExposeSecret as _;

use super::*;
use crate::{Migration, Transaction, migrate};

const NOTES: &[Migration] = &[Migration {
    name: "V001__notes",
    sql: "CREATE TABLE notes (tenant_id uuid NOT NULL, body text NOT NULL CHECK (body <> ''), UNIQUE (tenant_id, body));
          ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
          ALTER TABLE notes FORCE ROW LEVEL SECURITY;
          CREATE POLICY tenant ON notes
              USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
          GRANT SELECT, INSERT, DELETE ON notes TO embermesh_app;",
}];
const INSERT: &str = "INSERT INTO notes VALUES ($1, $2)";
const COUNT: &str = "SELECT count(*) FROM notes";
const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

async fn notes(limits: PoolConfig) -> (TestDatabase, Database) {
    let test = TestDatabase::create().await;
    migrate(test.url(), Schema::Store, NOTES).await.unwrap();
    let database = Database::connect(test.url(), Schema::Store, Role::App, &limits).await.unwrap();
    (test, database)
}

fn connections(count: usize) -> PoolConfig {
    PoolConfig { max_open_conns: NonZeroUsize::new(count).unwrap(), ..PoolConfig::default() }
}

async fn count(session: Session<'_>) -> i64 {
    session.query_one(COUNT, &[]).await.unwrap().get(0)
}

/// Waits until nobody but the asker is inside a transaction of this database.
async fn transactions_left_open(test: &TestDatabase) -> i64 {
    let watcher = Database::connect(test.url(), Schema::Store, Role::Owner, &connections(1)).await.unwrap();
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    let mut left = 0;
    for _ in 0..500 {
        left = watcher.system().query_one(sql, &[]).await.unwrap().get(0);
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    left
}

#[tokio::test]
async fn a_tenant_sees_and_writes_its_own_rows_alone_even_for_a_superuser() {
    let (_test, database) = notes(PoolConfig::default()).await;
    assert_eq!(database.tenant(A).execute(INSERT, &[&A, &"a"]).await.unwrap(), 1);
    let forged = database.tenant(A).execute(INSERT, &[&B, &"b"]).await.unwrap_err();
    assert!(matches!(forged, DbError::Denied(_)), "{forged}");
    assert_eq!(count(database.tenant(A)).await, 1);
    assert_eq!(count(database.tenant(B)).await, 0);
    assert_eq!(count(database.system()).await, 0);
}

#[tokio::test]
async fn the_tenant_does_not_stay_on_the_connection() {
    let (_test, database) = notes(connections(1)).await;
    database.tenant(A).execute(INSERT, &[&A, &"a"]).await.unwrap();
    let transaction = database.tenant(A).begin().await.unwrap();
    assert_eq!(transaction.query_one(COUNT, &[]).await.unwrap().get::<_, i64>(0), 1);
    drop(transaction);
    let setting = "SELECT current_setting('app.tenant', true)";
    let left: Option<String> = database.system().query_one(setting, &[]).await.unwrap().get(0);
    assert_eq!(left.unwrap_or_default(), "");
    assert_eq!(count(database.system()).await, 0);
    assert_eq!(database.status().size, 1, "a second connection would prove nothing");
}

#[tokio::test]
async fn a_future_dropped_at_any_point_leaves_no_transaction_and_no_tenant() {
    let (test, database) = notes(connections(1)).await;
    database.tenant(A).execute(INSERT, &[&A, &"kept"]).await.unwrap();
    // every number of polls is another place to stop: waiting for the pool, preparing, BEGIN, the statement, COMMIT
    for polls in 1..40 {
        let mut work = Box::pin(async {
            let transaction = database.tenant(A).begin().await?;
            transaction.execute("DELETE FROM notes", &[]).await?;
            transaction.query("SELECT pg_sleep(0.002)", &[]).await?;
            transaction.query(COUNT, &[]).await?;
            std::future::pending::<Result<(), DbError>>().await
        });
        for _ in 0..polls {
            assert!(poll_immediate(&mut work).await.is_none());
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        drop(work);
        let reader = database.tenant(A);
        let mut read = Box::pin(reader.query_one(COUNT, &[]));
        for _ in 0..polls {
            if poll_immediate(&mut read).await.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(read);
        assert_eq!(count(database.system()).await, 0, "after {polls} polls");
        assert_eq!(count(database.tenant(A)).await, 1, "after {polls} polls");
    }
    assert_eq!(transactions_left_open(&test).await, 0);
}

#[tokio::test]
async fn an_abandoned_statement_neither_blocks_the_next_user_nor_goes_on_for_ever() {
    // without a timeout only the lost connection can end it
    let limits = PoolConfig { statement_timeout: Duration::ZERO, ..connections(1) };
    let (test, database) = notes(limits).await;
    let backend = "SELECT pg_backend_pid()";
    let session = database.tenant(A);
    let abandoned: i32 = session.query_one(backend, &[]).await.unwrap().get(0);
    let slow = session.query("SELECT pg_sleep(60)", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(200), slow).await.is_err());
    let next: i32 = session.query_one(backend, &[]).await.unwrap().get(0);
    assert_ne!(abandoned, next);
    assert_eq!(transactions_left_open(&test).await, 0);
}

#[tokio::test]
async fn an_idle_transaction_that_is_dropped_keeps_its_connection_and_changes_nothing() {
    let (_test, database) = notes(connections(1)).await;
    let backend = "SELECT pg_backend_pid()";
    let before: i32 = database.system().query_one(backend, &[]).await.unwrap().get(0);
    let transaction = database.tenant(A).begin().await.unwrap();
    transaction.execute(INSERT, &[&A, &"gone"]).await.unwrap();
    drop(transaction);
    let after: i32 = database.system().query_one(backend, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    assert_eq!(count(database.tenant(A)).await, 0);
}

#[tokio::test]
async fn committed_work_stays_and_a_swallowed_error_cannot_be_committed() {
    let (_test, database) = notes(connections(1)).await;
    let good = database.tenant(A).begin().await.unwrap();
    good.execute(INSERT, &[&A, &"kept"]).await.unwrap();
    good.commit().await.unwrap();

    let bad = database.tenant(A).begin().await.unwrap();
    bad.execute(INSERT, &[&A, &"lost"]).await.unwrap();
    let duplicate = bad.execute(INSERT, &[&A, &"kept"]).await.unwrap_err();
    assert_eq!(duplicate.constraint(), Some("notes_tenant_id_body_key"));
    assert_eq!(bad.commit().await, Err(DbError::Aborted));
    assert_eq!(count(database.tenant(A)).await, 1);

    let undone = database.tenant(A).begin().await.unwrap();
    undone.execute(INSERT, &[&A, &"undone"]).await.unwrap();
    undone.rollback().await.unwrap();
    assert_eq!(count(database.tenant(A)).await, 1);
}

#[tokio::test]
async fn the_first_real_error_surfaces_from_the_one_round_trip() {
    let (_test, database) = notes(connections(1)).await;
    let session = database.tenant(A);
    let cases = [
        (session.execute(INSERT, &[&A, &""]).await.map(drop), "check constraint notes_body_check"),
        (session.query("SELECT 1 / 0", &[]).await.map(drop), "22012"),
        (session.query("SELECT nonsense FROM notes", &[]).await.map(drop), "42703"),
        (session.query(INSERT, &[&A, &"x"]).await.map(drop), "25006"),
        (session.clone().with("statement_timeout", "soon").query(COUNT, &[]).await.map(drop), "22023"),
        (
            session.clone().with("statement_timeout", 1).query("SELECT pg_sleep(9)", &[]).await.map(drop),
            "cancelled",
        ),
    ];
    for (outcome, expected) in cases {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} is not {expected}");
        assert_eq!(count(database.tenant(A)).await, 0);
    }
    session.execute(INSERT, &[&A, &"x"]).await.unwrap();
    let duplicate = session.execute(INSERT, &[&A, &"x"]).await.unwrap_err();
    assert!(matches!(duplicate, DbError::UniqueViolation { .. }) && !duplicate.is_retryable());
    assert_eq!(database.status().size, 1);
}

#[tokio::test]
async fn errors_quote_no_values() {
    let (_test, database) = notes(connections(1)).await;
    let session = database.tenant(A);
    session.execute(INSERT, &[&A, &"SECRET"]).await.unwrap();
    let error = session.execute(INSERT, &[&A, &"SECRET"]).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRET"));
    assert!(std::error::Error::source(&error).is_none());
}

#[tokio::test]
async fn settings_last_as_long_as_the_transaction_and_are_quoted() {
    let (_test, database) = notes(connections(1)).await;
    let show = "SELECT current_setting('app.note', true)";
    for value in ["40", "it's", "'; DROP TABLE notes; --", "back\\slash", ""] {
        let session = database.system().with("app.note", value);
        let seen: String = session.query_one(show, &[]).await.unwrap().get(0);
        assert_eq!(seen, value);
        let after: Option<String> = database.system().query_one(show, &[]).await.unwrap().get(0);
        assert_eq!(after.unwrap_or_default(), "");
    }
}

#[tokio::test]
async fn one_row_means_one_row() {
    let (_test, database) = notes(connections(1)).await;
    let rows = |n: i32| format!("SELECT generate_series(1, {n})");
    let session = database.system();
    assert_eq!(session.query_one(&rows(0), &[]).await.unwrap_err(), DbError::RowCount(0));
    assert_eq!(session.query_one(&rows(2), &[]).await.unwrap_err(), DbError::RowCount(2));
    assert!(session.query_opt(&rows(0), &[]).await.unwrap().is_none());
    assert_eq!(session.query_opt(&rows(3), &[]).await.unwrap_err(), DbError::RowCount(3));
}

#[tokio::test]
async fn a_table_changed_under_a_prepared_statement_is_not_noticed_by_the_caller() {
    let (test, database) = notes(connections(2)).await;
    let owner = Database::connect(test.url(), Schema::Store, Role::Owner, &connections(1)).await.unwrap();
    let sql = "SELECT * FROM notes";
    let session = database.tenant(A);
    // on both connections
    join_all([session.query(sql, &[]), session.query(sql, &[])]).await;
    owner.system().batch_execute("ALTER TABLE notes ADD COLUMN added int").await.unwrap();
    for outcome in join_all([session.query(sql, &[]), session.query(sql, &[])]).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_pool_recovers_when_postgresql_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let server = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    let url = server.connection_url().clone();
    migrate(&url, Schema::Store, NOTES).await.unwrap();
    let database = Database::connect(&url, Schema::Store, Role::App, &connections(3)).await.unwrap();
    let ping = || database.ping();
    assert!(join_all([ping(), ping(), ping()]).await.iter().all(Result::is_ok));

    server.stop().await.unwrap();
    let down = database.ping().await.unwrap_err();
    assert!(matches!(down, DbError::Unavailable(_)) && down.is_retryable(), "{down}");

    let _server = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    assert_eq!(count(database.tenant(A)).await, 0);
    database.tenant(A).execute(INSERT, &[&A, &"a"]).await.unwrap();
}

#[tokio::test]
async fn a_connection_lost_while_idle_is_replaced_without_an_error() {
    let (test, database) = notes(connections(1)).await;
    let owner = Database::connect(test.url(), Schema::Store, Role::Owner, &connections(1)).await.unwrap();
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    owner.system().query(sql, &[]).await.unwrap();
    assert_eq!(count(database.tenant(A)).await, 0);
    owner.system().query(sql, &[]).await.unwrap();
    database.tenant(A).begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn limits_hold() {
    let limits =
        PoolConfig { max_idle_conns: 1, acquire_timeout: Duration::from_millis(50), ..connections(3) };
    let (_test, database) = notes(limits).await;
    let held: Vec<Transaction> =
        join_all((0..3).map(async |_| database.tenant(A).begin().await.unwrap())).await;
    let full = PoolStatus { max_size: 3, size: 3, idle: 0, waiting: 0 };
    assert_eq!(database.status(), full);
    assert_eq!(database.ping().await, Err(DbError::PoolTimeout));
    drop(held);
    assert_eq!(database.status().idle, 1);
    assert_eq!(database.status().size, 1);
}

#[tokio::test]
async fn old_and_idle_connections_are_closed() {
    let backend = "SELECT pg_backend_pid()";
    let now = Duration::ZERO;
    for limits in [
        PoolConfig { conn_max_lifetime: now, ..connections(1) },
        PoolConfig { conn_max_idle_time: now, ..connections(1) },
    ] {
        let (_test, database) = notes(limits).await;
        let first: i32 = database.system().query_one(backend, &[]).await.unwrap().get(0);
        let second: i32 = database.system().query_one(backend, &[]).await.unwrap().get(0);
        assert_ne!(first, second);
        assert_eq!(database.reap(), 1);
        assert_eq!(database.status().size, 0);
    }
    let (_test, database) = notes(connections(1)).await;
    assert_eq!(database.reap(), 0);
}

#[tokio::test]
async fn every_connection_is_set_up() {
    let (_test, database) = notes(connections(1)).await;
    for (setting, expected) in [
        ("search_path", "store, public"),
        ("role", "embermesh_app"),
        ("statement_timeout", "30s"),
        ("application_name", "embermesh"),
    ] {
        let row = database.system().query_one("SELECT current_setting($1)", &[&setting]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), expected);
    }
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let test = TestDatabase::create().await;
    let connect = async |url: &str| {
        let limits = PoolConfig::default();
        let outcome = Database::connect(&url.into(), Schema::Store, Role::Owner, &limits).await;
        outcome.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let url = test.url().expose_secret();
    let password = url.split([':', '@']).nth(2).unwrap();
    for (url, expected) in [
        (url.replace(password, "guessed"), "password authentication failed"),
        (url.replace(test.name(), "missing"), "does not exist"),
        (url.replace("sslmode=disable", "sslmode=require"), "does not support TLS"),
        ("postgresql://u:hunter2@127.0.0.1:1/x".into(), "unavailable"),
    ] {
        let error = connect(&url).await;
        assert!(error.contains(expected), "{error} is not {expected}");
        assert!(!error.contains("hunter2") && !error.contains(password), "{error}");
    }
}

/// Futures that handlers await have to be `Send`.
#[tokio::test]
async fn futures_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (test, database) = notes(connections(1)).await;
    let session = database.tenant(A);
    is_send(Database::connect(test.url(), Schema::Store, Role::App, &PoolConfig::default())).await.unwrap();
    is_send(migrate(test.url(), Schema::Store, NOTES)).await.unwrap();
    is_send(session.query(COUNT, &[])).await.unwrap();
    is_send(session.execute("DELETE FROM notes", &[])).await.unwrap();
    is_send(session.execute_returning("DELETE FROM notes RETURNING body", &[])).await.unwrap();
    is_send(session.batch_execute("SELECT 1")).await.unwrap();
    let transaction = is_send(session.begin()).await.unwrap();
    is_send(transaction.query(COUNT, &[])).await.unwrap();
    is_send(transaction.execute("DELETE FROM notes", &[])).await.unwrap();
    is_send(transaction.commit()).await.unwrap();
    assert!(is_send(database.maintain()).now_or_never().is_none());
}

#[tokio::test]
async fn a_connection_forgets_statements_before_there_are_too_many() {
    let (_test, database) = notes(connections(1)).await;
    let prepared = "SELECT count(*) FROM pg_prepared_statements";
    let mut most = 0;
    for n in 0..1_200 {
        let row = database.tenant(A).query_one(&format!("SELECT {n}, $1::int"), &[&n]).await.unwrap();
        assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (n, n));
        if n % 97 == 0 {
            most = most.max(database.system().query_one(prepared, &[]).await.unwrap().get::<_, i64>(0));
        }
    }
    assert!((2..=501).contains(&most), "{most}");
}
