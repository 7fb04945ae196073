use embermesh_postgres::{Database, DbError, PoolConfig, Role, Schema};
use embermesh_proto::v1::AgentInput;

use crate::world::World;

const TABLES: [&str; 6] = ["tenants", "api_keys", "agents", "agent_versions", "pins", "changes"];

async fn application(world: &World) -> Database {
    Database::connect(world.database.url(), Schema::Admin, Role::App, &PoolConfig::default()).await.unwrap()
}

#[tokio::test]
async fn without_a_tenant_every_table_is_empty_and_closed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let input = AgentInput { agent_id: "docs".to_owned(), ..AgentInput::default() };
    world.replica.agents.put_agent(admin.request(input)).await.unwrap();
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
        "UPDATE api_keys SET hash = hash",
        "ALTER TABLE pins DISABLE ROW LEVEL SECURITY",
    ] {
        assert!(matches!(own.execute(sql, &[]).await, Err(DbError::Denied(_))), "{sql}");
    }
}
