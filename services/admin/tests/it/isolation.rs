use embermesh_postgres::{Database, DbError, PoolConfig, Role, Schema};
use embermesh_proto::v1::{AgentInput, CreateBudgetRequest, PiiPolicyInput};

use crate::world::World;

const TABLES: [&str; 11] = [
    "tenants",
    "api_keys",
    "agents",
    "agent_versions",
    "pins",
    "changes",
    "budgets",
    "audit_records",
    "audit_anchors",
    "pii_policies",
    "cache_clears",
];

async fn application(world: &World) -> Database {
    Database::connect(world.database.url(), Schema::Admin, Role::App, &PoolConfig::default()).await.unwrap()
}

#[tokio::test]
async fn without_a_tenant_every_table_is_empty_and_closed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let input = AgentInput { agent_id: "docs".to_owned(), ..AgentInput::default() };
    world.replica.agents.put_agent(admin.request(input)).await.unwrap();
    let budget = CreateBudgetRequest {
        scope: "tenant".to_owned(),
        period: "day".to_owned(),
        limit_nano_usd: Some(1),
        ..CreateBudgetRequest::default()
    };
    world.replica.budgets.create_budget(admin.request(budget)).await.unwrap();
    world.replica.policies.put_pii_policy(admin.request(PiiPolicyInput::default())).await.unwrap();
    let database = application(&world).await;
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        let seen: i64 = database.system().query_one(&count, &[]).await.unwrap().get(0);
        assert_eq!(seen, 0, "{table}");
    }
    let insert = "INSERT INTO pins VALUES ($1, 'a', 't', 's', 'm', now())";
    let tenant = world.first.tenant.uuid();
    assert!(matches!(database.system().execute(insert, &[&tenant]).await, Err(DbError::Denied(_))));
    let others = uuid::Uuid::from_u128(5);
    let budget = "INSERT INTO budgets VALUES ($1, $2, 'agent', 'a', 'day', 1, '{50}', 1, now(), now())";
    assert!(matches!(
        database.tenant(others).execute(budget, &[&tenant, &others]).await,
        Err(DbError::Denied(_))
    ));
    let raise = "UPDATE budgets SET limit_nano_usd = 9";
    assert_eq!(database.tenant(others).execute(raise, &[]).await.unwrap(), 0);
    assert_eq!(database.tenant(others).execute("DELETE FROM budgets", &[]).await.unwrap(), 0);
    assert_eq!(database.tenant(tenant).execute(raise, &[]).await.unwrap(), 1);
    assert!(matches!(database.tenant(others).execute(insert, &[&tenant]).await, Err(DbError::Denied(_))));
}

#[tokio::test]
async fn the_setting_of_the_stream_opens_reading_alone() {
    let world = World::new().await;
    let database = application(&world).await;
    let stream = database.system().with("app.all_tenants", "on");
    let seen: i64 = stream.query_one("SELECT count(*) FROM api_keys", &[]).await.unwrap().get(0);
    assert_eq!(seen, 2);
    let revoke = "UPDATE api_keys SET revoked_at = now()";
    assert_eq!(stream.execute(revoke, &[]).await.unwrap(), 0);
    let insert = "INSERT INTO pins VALUES ($1, 'a', 't', 's', 'm', now())";
    let tenant = world.first.tenant.uuid();
    assert!(matches!(stream.execute(insert, &[&tenant]).await, Err(DbError::Denied(_))));
}

#[tokio::test]
async fn history_prices_and_pins_cannot_be_rewritten() {
    let world = World::new().await;
    let database = application(&world).await;
    let own = database.tenant(world.first.tenant.uuid());
    for sql in [
        "UPDATE agent_versions SET config = NULL",
        "DELETE FROM agent_versions",
        "UPDATE prices SET per_million_tokens_nano_usd = 0",
        "DELETE FROM prices",
        "UPDATE pins SET space_id = 'x@1'",
        "DELETE FROM pins",
        "DELETE FROM changes",
        "UPDATE audit_records SET details = '{}'",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "UPDATE audit_anchors SET number = 1",
        "DELETE FROM audit_anchors",
        "SELECT * FROM audit_logs",
        "UPDATE models SET family = 'another/space'",
        "UPDATE models SET native_dimensions = 1",
        "DELETE FROM models",
        "UPDATE space_references SET vectors = '{}'",
        "DELETE FROM breaker_orders",
        "DELETE FROM settings",
        "UPDATE budgets SET subject = 'another'",
        "UPDATE tenants SET operator = true",
        "DELETE FROM tenants",
        "UPDATE pii_policies SET tenant_id = tenant_id",
        "UPDATE budgets SET tenant_id = tenant_id",
        "UPDATE api_keys SET hash = hash",
        "ALTER TABLE pins DISABLE ROW LEVEL SECURITY",
    ] {
        assert!(matches!(own.execute(sql, &[]).await, Err(DbError::Denied(_))), "{sql}");
    }
}
