//! What concerns every tenant is the operator's alone, whoever the call came through.

use embermesh_errors::Code;
use embermesh_postgres::{Database, DbError, PoolConfig, Role, Schema};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::OrderBreakersRequest,
    v1::{
        AddPriceRequest, CatalogModel, CreateTenantRequest, DeleteCatalogModelRequest, DeleteTenantRequest,
        GetTenantRequest, ListTenantsRequest, UpdateCatalogModelRequest, UpdateTenantRequest,
    },
};
use embermesh_types::ManualClock;

use crate::world::{NOON, Replica, START, World, context, refused};

macro_rules! assert_forbidden {
    ($by:expr, $($client:ident . $call:ident => $request:expr),* $(,)?) => {$(
        let error = refused($client.$call($by.request($request)).await);
        assert_eq!(error.code, Code::Forbidden, "{}: {error}", stringify!($call));
    )*};
}

#[tokio::test]
async fn an_admin_of_another_tenant_and_a_key_without_the_scope_are_refused() {
    let mut world = World::new().await;
    let other = world.other_tenant().await;
    let reader = context(world.first.tenant, None, &["embed", "search", "read", "costs"]);
    let id = world.first.tenant.to_string();
    let Replica { tenants, catalog, config, .. } = &mut world.replica;
    for by in [&other, &reader] {
        assert_forbidden!(
            by,
            tenants.create_tenant => CreateTenantRequest { name: "x".to_owned(), ..Default::default() },
            tenants.list_tenants => ListTenantsRequest::default(),
            tenants.get_tenant => GetTenantRequest { id: id.clone() },
            tenants.update_tenant => UpdateTenantRequest { id: id.clone(), ..Default::default() },
            tenants.delete_tenant => DeleteTenantRequest { id: id.clone() },
            catalog.create_catalog_model => CatalogModel::default(),
            catalog.update_catalog_model => UpdateCatalogModelRequest::default(),
            catalog.delete_catalog_model => DeleteCatalogModelRequest::default(),
            catalog.add_price => AddPriceRequest::default(),
            config.order_breakers => OrderBreakersRequest::default(),
        );
    }
}

#[tokio::test]
async fn there_is_one_operator_and_it_cannot_be_changed() {
    let world = World::new().await;
    let other = world.other_tenant().await.principal.tenant.uuid();
    let database = Database::connect(world.database.url(), Schema::Admin, Role::App, &PoolConfig::default())
        .await
        .unwrap();
    let own = database.tenant(other);
    let second = "INSERT INTO tenants (tenant_id, name, operator, created_at) VALUES ($1, 'y', true, now())";
    let id = uuid::Uuid::from_u128(7);
    let refused = database.tenant(id).execute(second, &[&id]).await.unwrap_err();
    assert_eq!(refused.constraint(), Some("one_operator"), "{refused:?}");
    let raise = "UPDATE tenants SET operator = true";
    assert!(matches!(own.execute(raise, &[]).await, Err(DbError::Denied(_))));
}

#[tokio::test]
async fn of_a_database_of_the_release_before_the_oldest_tenant_is_the_operators() {
    let database = TestDatabase::create().await;
    let clock = ManualClock::new(START + NOON);
    drop(Replica::start(&database, &clock, Default::default()).await);
    let (schema, role) = (Schema::Admin, Role::Owner);
    let owner = Database::connect(database.url(), schema, role, &PoolConfig::default()).await.unwrap();
    let (old, young) = (uuid::Uuid::from_u128(9), uuid::Uuid::from_u128(8));
    for (id, at) in [(young, "2026-02-01"), (old, "2026-01-01")] {
        let insert = format!("INSERT INTO tenants (tenant_id, name, created_at) VALUES ($1, $2, '{at}')");
        owner.tenant(id).execute(&insert, &[&id, &id.to_string()]).await.unwrap();
    }
    // what the migration does with them, as it is written there
    let migration = include_str!("../../../../migrations/admin/V006__tenants_and_policies.sql");
    let begin = migration.find("ALTER TABLE tenants NO FORCE").unwrap();
    let end = migration.find("CREATE TABLE pii_policies").unwrap();
    let end = migration[..end].rfind("--").unwrap();
    owner.system().batch_execute(&migration[begin..end]).await.unwrap();
    let mut replica = Replica::start(&database, &clock, Default::default()).await;
    let admin = context(embermesh_types::TenantId::new(old), None, &["admin"]);
    let request = admin.request(ListTenantsRequest::default());
    let listed = replica.tenants.list_tenants(request).await.unwrap().into_inner().tenants;
    let operators: Vec<_> = listed.iter().map(|tenant| (tenant.id.clone(), tenant.operator)).collect();
    assert_eq!(operators, [(young.to_string(), false), (old.to_string(), true)]);
}
