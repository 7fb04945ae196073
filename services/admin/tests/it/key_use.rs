//! When keys were last used, as gateways report it.

use std::time::{Duration, SystemTime};

use embermesh_proto::internal::v1::{
    ReportKeyUseRequest, Section, SubscribeRequest, UsedKey, key_use_client::KeyUseClient,
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, in_process};
use embermesh_types::TenantId;

use crate::{
    key_rotation::{HOUR, key, new},
    world::{NOON, START, World},
};

/// What a gateway sends.
async fn report(world: &World, used: &[(TenantId, &str, SystemTime)]) {
    let server = world.replica.service.key_use_server();
    let mut client = KeyUseClient::new(in_process(server, &GrpcMetrics::new(&Metrics::default()).unwrap()));
    let keys = used.iter().map(|(tenant, id, at)| UsedKey {
        tenant_id: tenant.to_string(),
        key_id: (*id).to_owned(),
        last_used_at: Some((*at).into()),
    });
    client.report(ReportKeyUseRequest { keys: keys.collect() }).await.unwrap();
}

#[tokio::test]
async fn the_last_use_moves_forward_by_a_minute_or_more_and_never_beyond_now() {
    let mut world = World::new().await;
    let (admin, tenant) = (world.admin(), world.first.tenant);
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let id = made.id.as_str();
    assert_eq!(key(&mut world, id).await.last_used_at, None);
    world.clock.advance(HOUR);
    let begin = START + NOON;
    let second = Duration::from_secs(1);
    let version = world.replica.config.subscribe(everything()).await.unwrap().into_inner().message().await;
    let version = version.unwrap().unwrap().version;
    for (told, noted) in [
        (begin + second * 10, begin + second * 10),
        // an older report of another gateway, and one too soon
        (begin, begin + second * 10),
        (begin + second * 69, begin + second * 10),
        (begin + second * 70, begin + second * 70),
        // a gateway whose clock is ahead
        (begin + HOUR * 5, begin + HOUR),
    ] {
        report(&world, &[(tenant, id, told), (tenant, "unknown", told), (tenant, id, begin)]).await;
        assert_eq!(key(&mut world, id).await.last_used_at, Some(noted.into()));
    }
    // no change of configuration
    let after = world.replica.config.subscribe(everything()).await.unwrap().into_inner().message().await;
    assert_eq!(after.unwrap().unwrap().version, version);
}

#[tokio::test]
async fn gateways_that_report_the_same_keys_at_once_do_not_stop_one_another() {
    let mut world = World::new().await;
    let (admin, tenant) = (world.admin(), world.first.tenant);
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(world.replica.keys.create_key(admin.request(new("k"))).await.unwrap().into_inner().id);
    }
    world.clock.advance(HOUR * 10);
    for round in 1..8 {
        let at = START + NOON + HOUR * round;
        let forth: Vec<_> = ids.iter().map(|id| (tenant, id.as_str(), at)).collect();
        let back: Vec<_> = forth.iter().rev().copied().collect();
        tokio::join!(report(&world, &forth), report(&world, &back), report(&world, &forth));
        let last = key(&mut world, &ids[7]).await.last_used_at;
        assert_eq!(last, Some(at.into()));
    }
}

#[tokio::test]
async fn a_report_under_another_tenant_is_of_an_unknown_key() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    report(&world, &[(other.principal.tenant, &made.id, START + NOON)]).await;
    assert_eq!(key(&mut world, &made.id).await.last_used_at, None);
}

fn everything() -> SubscribeRequest {
    SubscribeRequest { sections: vec![Section::Keys.into()], subscriber: "test".to_owned() }
}
