use embermesh_errors::{Code, Error};
use embermesh_postgres::{DbError, Role};
use embermesh_proto::{internal::v1::SettleRequest, v1::GetCostReportRequest};
use embermesh_transport::CallContext;

use crate::world::{World, context, limits, part, reservation, settlement, shared, tenant, voided};

async fn settle(world: &World, by: &CallContext, message: SettleRequest) -> Result<(), Error> {
    world.replica.ledger.clone().settle(by.request(message)).await.map(drop).map_err(Error::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_one_transaction_have_budgets_and_books_of_their_own() {
    // the same agent id, limited in tenant 1 alone
    let world = World::new(limits(&[("docs", Some(50), None, None)])).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let by = context(tenant(1 + n % 2), None);
        let mut ledger = world.replica.ledger.clone();
        let request = by.request(reservation(world.attempt(), "docs", 10));
        calls.spawn(async move { (n % 2, ledger.reserve(request).await.is_ok()) });
    }
    let outcomes = calls.join_all().await;
    let admitted = |which| outcomes.iter().filter(|(tenant, ok)| *tenant == which && *ok).count();
    assert_eq!((admitted(0), admitted(1)), (5, 20));
}

#[tokio::test]
async fn another_tenants_attempts_do_not_exist() {
    let world = World::new(limits(&[])).await;
    let other = context(tenant(2), None);
    let attempt = world.attempt();
    world.reserve(attempt, "docs", 10).await.unwrap();
    assert_eq!(settle(&world, &other, voided(attempt)).await.unwrap_err().code, Code::NotFound);
    world.settle(settlement(attempt, "docs", 10)).await.unwrap();
    let report = other.request(GetCostReportRequest::default());
    let report = world.replica.reports.clone().get_cost_report(report).await.unwrap().into_inner();
    assert_eq!((report.total_cost_nano_usd, report.rows.len()), (0, 0));
}

#[tokio::test]
async fn without_a_tenant_every_table_is_empty_and_closed_and_partitions_are_out_of_reach() {
    let world = World::new(limits(&[])).await;
    world.spend("docs", 10).await;
    let message = shared(world.attempt(), vec![part("a", "docs", 1), part("b", "code", 1)]);
    world.share(message).await.unwrap();
    let application = world.connect(Role::App).await;
    for table in ["attempts", "attempt_parts", "charges", "balances", "leases", "embedding_metrics"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let seen: i64 = application.system().query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(seen, 0, "{table}");
    }
    let own = application.tenant(tenant(1).uuid());
    for sql in [
        "INSERT INTO balances VALUES ('00000000-0000-0000-0000-000000000002', 'agent', 'a', 'day', '2026-11-22')",
        "SELECT * FROM charges_2026_11",
        "SELECT * FROM attempt_parts_2026_11",
        "UPDATE attempt_parts SET refusal = NULL",
        "DELETE FROM attempt_parts",
        "UPDATE charges SET amount_nano_usd = 0",
        "DELETE FROM charges",
        "DELETE FROM attempts",
        "UPDATE attempts SET reserved_nano_usd = 0",
        "UPDATE attempts SET day = '2026-01-01'",
    ] {
        assert!(matches!(own.execute_returning(sql, &[]).await, Err(DbError::Denied(_))), "{sql}");
    }
}
