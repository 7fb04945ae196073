//! Calls of the API, as gateways tell them.

use std::time::{Duration, SystemTime};

use embermesh_errors::Code;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::internal::v1::{ApiCall, RecordApiCallsRequest, api_calls_client::ApiCallsClient};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, Transport, in_process};
use embermesh_types::TenantId;

use crate::world::{NOON, START, World, refused};

const SESSION: &str = "0192d5a0-0000-7000-8000-00000000aaaa";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn gateway(world: &World) -> ApiCallsClient<Transport> {
    let server = world.replica.service.api_calls_server();
    ApiCallsClient::new(in_process(server, &GrpcMetrics::new(&Metrics::default()).unwrap()))
}

fn call(tenant: TenantId, key: &str, cost_nano_usd: i64, at: SystemTime) -> ApiCall {
    ApiCall {
        tenant_id: tenant.to_string(),
        api_key_id: key.to_owned(),
        user_id: "docs".to_owned(),
        method: "POST".to_owned(),
        endpoint: "/v1/embeddings".to_owned(),
        status: 200,
        cost_nano_usd,
        created_at: Some(at.into()),
    }
}

fn batch(number: i64, calls: Vec<ApiCall>) -> RecordApiCallsRequest {
    RecordApiCallsRequest { session_id: SESSION.to_owned(), number, calls, share: 1.0 }
}

/// Keys and costs in USD, as an operator sees them.
async fn rows(world: &World) -> Vec<(String, String)> {
    let operator = operator(world).await;
    let sql =
        "SELECT api_key_id, trim_scale(cost_usd)::text FROM api_requests ORDER BY created_at, api_key_id";
    let rows = operator.system().query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn operator(world: &World) -> Database {
    let url = world.database.url();
    Database::connect(url, Schema::Admin, Role::Operator, &PoolConfig::default()).await.unwrap()
}

fn row(key: &str, cost: &str) -> (String, String) {
    (key.to_owned(), cost.to_owned())
}

#[tokio::test]
async fn a_batch_is_kept_once_however_often_it_comes_and_of_every_tenant() {
    let world = World::new().await;
    let (one, two) = (world.first.tenant, world.other_tenant().await.principal.tenant);
    let (mut gateway, begin) = (gateway(&world), START + NOON);
    let first = batch(1, vec![call(one, "a", 1, begin), call(two, "b", 1_500_000_000, begin)]);
    for _ in 0..2 {
        gateway.record(first.clone()).await.unwrap();
    }
    let second = batch(2, vec![call(one, "c", 0, begin)]);
    // the same one twice at a time, as after a timeout
    let mut again = gateway.clone();
    let (sent, twice) = tokio::join!(gateway.record(second.clone()), again.record(second.clone()));
    assert!(sent.is_ok() && twice.is_ok());
    gateway.record(first).await.unwrap();
    let expected = [row("a", "0.000000001"), row("b", "1.5"), row("c", "0")];
    assert_eq!(rows(&world).await, expected);
    // another journal counts for itself
    let other = RecordApiCallsRequest {
        session_id: SESSION.replace('a', "b"),
        ..batch(1, vec![call(one, "d", 1, begin)])
    };
    gateway.record(other).await.unwrap();
    assert_eq!(rows(&world).await.len(), 4);
}

#[tokio::test]
async fn calls_told_late_have_their_months_and_old_months_go() {
    let world = World::new().await;
    let (tenant, mut gateway, begin) = (world.first.tenant, gateway(&world), START + NOON);
    let calls = vec![
        call(tenant, "late", 0, begin - DAY * 80),
        call(tenant, "too late", 0, begin - DAY * 91),
        call(tenant, "of a wrong clock", 0, begin + DAY * 400),
    ];
    gateway.record(batch(1, calls)).await.unwrap();
    let kept = ["late", "of a wrong clock"].map(|key| row(key, "0"));
    assert_eq!(rows(&world).await, kept);
    let operator = operator(&world).await;
    let last: SystemTime =
        operator.system().query_one("SELECT max(created_at) FROM api_requests", &[]).await.unwrap().get(0);
    assert_eq!(last, begin, "nothing is of the future");
    world.clock.advance(DAY * 90);
    world.replica.service.keep_api_requests().await.unwrap();
    assert_eq!(rows(&world).await, kept[1..]);
    gateway.record(batch(2, vec![call(tenant, "new", 0, begin + DAY * 89)])).await.unwrap();
    assert_eq!(rows(&world).await.len(), 2);
    world.clock.advance(DAY * 400);
    world.replica.service.keep_api_requests().await.unwrap();
    assert_eq!(rows(&world).await, []);
}

#[tokio::test]
async fn the_application_sees_its_tenants_calls_alone_and_changes_none() {
    let world = World::new().await;
    let (one, two) = (world.first.tenant, world.other_tenant().await.principal.tenant);
    let calls = vec![call(one, "a", 1, START + NOON), call(two, "b", 1, START + NOON)];
    gateway(&world).record(batch(1, calls)).await.unwrap();
    let url = world.database.url();
    let application = Database::connect(url, Schema::Admin, Role::App, &PoolConfig::default()).await.unwrap();
    let seen = "SELECT string_agg(api_key_id, ',') FROM api_requests";
    let own: Option<String> = application.tenant(two.uuid()).query_one(seen, &[]).await.unwrap().get(0);
    assert_eq!(own.as_deref(), Some("b"));
    let nobody: Option<String> = application.system().query_one(seen, &[]).await.unwrap().get(0);
    assert_eq!(nobody, None);
    for sql in [
        "UPDATE api_requests SET cost_usd = 0",
        "DELETE FROM api_requests",
        "TRUNCATE api_requests",
        "DELETE FROM api_request_journals",
        "SELECT * FROM api_requests_2026_11",
    ] {
        let refused = application.tenant(one.uuid()).execute(sql, &[]).await;
        assert!(matches!(refused, Err(embermesh_postgres::DbError::Denied(_))), "{sql}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_for_good() {
    let world = World::new().await;
    let mut gateway = gateway(&world);
    let good = batch(1, vec![call(world.first.tenant, "a", 1, START + NOON)]);
    for bad in [
        RecordApiCallsRequest { session_id: "x".to_owned(), ..good.clone() },
        RecordApiCallsRequest { number: 0, ..good.clone() },
        RecordApiCallsRequest { share: 1.5, ..good.clone() },
        RecordApiCallsRequest { share: f32::NAN, ..good.clone() },
        RecordApiCallsRequest { calls: vec![ApiCall::default(); 10_001], ..good.clone() },
    ] {
        assert_eq!(refused(gateway.record(bad).await).code, Code::Invalid);
    }
    let part = RecordApiCallsRequest { share: 0.25, ..good };
    gateway.record(part).await.unwrap();
    let share: f32 = operator(&world)
        .await
        .system()
        .query_one("SELECT share FROM api_requests", &[])
        .await
        .unwrap()
        .get(0);
    assert!((share - 0.25).abs() < f32::EPSILON);
}
