use embermesh_postgres::{PoolConfig, Role, Schema, migrate};
use embermesh_private_postgres::TestDatabase;

use super::*;

#[tokio::test]
async fn books_that_were_kept_before_attempts_could_be_shared_go_on() {
    let database = TestDatabase::create().await;
    migrate(database.url(), Schema::Ledger, &MIGRATIONS[..1]).await.unwrap();
    let pool = PoolConfig::default();
    let connected = Database::connect(database.url(), Schema::Ledger, Role::App, &pool).await.unwrap();
    let tenant = Uuid::from_u128(1);
    let old = "INSERT INTO attempts (tenant_id, attempt_id, created_at, agent_id, key_id, request_id, provider, deployment, model,
                   space_id, state, reserved_nano_usd, tokens_bound, price_per_million_nano_usd, day, reserved_at)
               VALUES ($1, $1, now(), 'docs', 'key1', 'request', 'openai', 'openai-1', 'small', 'acme/small@8', 'reserved', 5, 9, 1,
                   current_date, now())
               RETURNING created_at";
    connected.tenant(tenant).execute_returning(old, &[&tenant]).await.unwrap();

    migrate(database.url(), Schema::Ledger, &MIGRATIONS).await.unwrap();
    let later = embermesh_types::Clock::system().now() + std::time::Duration::from_secs(60);
    let patience = Patience { alone: later, attended: later };
    let overdue = Store::new(connected.clone()).overdue(patience, None).await.unwrap();
    let [Overdue { attempt, reserved, .. }] = &*overdue else { panic!("{overdue:?}") };
    assert_eq!((attempt.attempt.uuid(), reserved.0), (tenant, 5));
    // the new table has the months that the old ones have
    let months = "SELECT inhparent::regclass::text, count(*) FROM pg_inherits WHERE inhparent IN (SELECT oid FROM pg_class WHERE relkind = 'p') GROUP BY 1 ORDER BY 1";
    let rows = connected.system().query(months, &[]).await.unwrap();
    let counts: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let [parts, attempts, charges] = &*counts else { panic!("{counts:?}") };
    assert_eq!((parts.0.as_str(), parts.1, charges.1), ("attempt_parts", attempts.1, attempts.1));
}
