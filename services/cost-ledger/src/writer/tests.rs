use embermesh_errors::Code;
use embermesh_postgres::{Database, PoolConfig, Role, Schema, migrate};
use embermesh_private_postgres::TestDatabase;
use embermesh_telemetry::Metrics;
use embermesh_types::TenantId;

use super::*;
use crate::{domain::post::Post, store::MIGRATIONS};

async fn writer(database: &TestDatabase, tasks: &Tasks) -> Writer {
    migrate(database.url(), Schema::Ledger, &MIGRATIONS).await.unwrap();
    let pool = PoolConfig::default();
    let connected = Database::connect(database.url(), Schema::Ledger, Role::App, &pool).await.unwrap();
    let metrics = LedgerMetrics::new(&Metrics::default()).unwrap();
    let (unknown, clock) = (Subscription::unknown(), Clock::system());
    let store = Store::new(connected);
    let recovery = Recovery::open(store.clone(), &Metrics::default()).await.unwrap();
    let desk = Desk::new(store, unknown, clock, Waiting::default(), recovery, metrics, 8);
    Writer::new(desk, 8, tasks.clone())
}

fn nothing_to_do() -> Work {
    Work { tenant: TenantId::new(uuid::Uuid::nil()), operation: Operation::Post(Post::default()) }
}

#[tokio::test]
async fn who_waits_for_a_writer_that_panics_is_told_and_the_next_is_served() {
    let (database, tasks) = (TestDatabase::create().await, Tasks::new());
    let writer = writer(&database, &tasks).await;
    // as a writer that has taken a batch and is at it
    writer.desk.queue().attended = true;
    let duty = Attending::new(Arc::clone(&writer.desk));
    let waiting = [writer.submit(nothing_to_do()), writer.submit(nothing_to_do())];
    let waiting = futures::future::join_all(waiting);
    let panics = async {
        assert_eq!(writer.desk.queue().waiting.len(), 2);
        let task = tasks.spawn("a writer", async move {
            let _duty = duty;
            panic!("as a defect would");
        });
        task.await.unwrap_err()
    };
    let (outcomes, error) = tokio::join!(waiting, panics);
    assert!(error.is_panic());
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().code, Code::Internal);
    }
    assert_eq!(writer.submit(nothing_to_do()).await, Ok(Answer::Posted(Vec::new())));
}

#[tokio::test]
async fn a_process_that_drops_its_tasks_leaves_nobody_waiting() {
    let (database, tasks) = (TestDatabase::create().await, Tasks::new());
    let writer = writer(&database, &tasks).await;
    tasks.abort();
    // each calls a task that never begins
    for _ in 0..2 {
        assert_eq!(writer.submit(nothing_to_do()).await.unwrap_err().code, Code::Unavailable);
    }
}
