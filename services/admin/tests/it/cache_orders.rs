use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{OrderCacheRequest, Section};
use embermesh_subscription::{CacheClear, Snapshot};
use embermesh_transport::CallContext;

use crate::{
    subscriber::{subscribe, until},
    world::{World, context, refused},
};

fn order(action: &str, tenant: &str, agent: &str) -> OrderCacheRequest {
    OrderCacheRequest {
        action: action.to_owned(),
        tenant_id: tenant.to_owned(),
        agent_id: agent.to_owned(),
        space_id: String::new(),
    }
}

async fn give(world: &mut World, by: &CallContext, order: OrderCacheRequest) -> i64 {
    world.replica.config.order_cache(by.request(order)).await.unwrap().into_inner().version
}

fn clears(snapshot: &Snapshot) -> Vec<(CacheClear, i64)> {
    let mut clears: Vec<_> = snapshot.cache_clears().collect();
    clears.sort_by_key(|(_, number)| *number);
    clears
}

#[tokio::test]
async fn an_order_to_clear_reaches_routers_and_the_next_one_takes_its_place() {
    let mut world = World::new().await;
    let (admin, tasks) = (world.admin(), Tasks::new());
    let own = world.first.tenant.to_string();
    let subscription = subscribe(&world.replica, &[Section::CacheClears], &tasks);
    let first = give(&mut world, &admin, order("clear", &own, "docs")).await;
    let warmed = give(&mut world, &admin, order("warm", &own, "docs")).await;
    let second = give(&mut world, &admin, order("clear", &own, "docs")).await;
    let everything = give(&mut world, &admin, order("clear", "", "")).await;
    assert!(first < warmed && warmed < second && second < everything);
    until(&subscription, "the orders", |s| s.version >= everything).await;
    let of_agent =
        CacheClear { tenant: Some(world.first.tenant), agent: Some("docs".parse().unwrap()), space: None };
    assert_eq!(clears(&subscription.current()), [(of_agent, second), (CacheClear::default(), everything)]);

    // one that is older than anything that may be served is forgotten with the next of its tenant
    world.clock.advance(std::time::Duration::from_secs(9 * 24 * 3600));
    let later = give(&mut world, &admin, order("clear", &own, "")).await;
    until(&subscription, "the last order", |s| s.version >= later && clears(s).len() == 2).await;
    let whole = CacheClear { tenant: Some(world.first.tenant), ..CacheClear::default() };
    assert_eq!(clears(&subscription.current()), [(CacheClear::default(), everything), (whole, later)]);
}

#[tokio::test]
async fn a_tenant_orders_for_itself_and_the_operator_for_any() {
    let mut world = World::new().await;
    let (operator, other) = (world.admin(), world.other_tenant().await);
    let (own, others) = (world.first.tenant.to_string(), other.principal.tenant.to_string());
    give(&mut world, &other, order("clear", &others, "")).await;
    give(&mut world, &operator, order("clear", &others, "")).await;
    for not_its_own in [order("clear", &own, ""), order("warm", &own, ""), order("clear", "", "")] {
        let refusal = world.replica.config.order_cache(other.request(not_its_own)).await;
        assert_eq!(refused(refusal).code, Code::Forbidden);
    }
    let nobody = order("clear", "0192d5a0-0000-7000-8000-00000000dead", "");
    let refusal = world.replica.config.order_cache(operator.request(nobody)).await;
    assert_eq!(refused(refusal).code, Code::NotFound);
    let reader = context(world.first.tenant, None, &["read"]);
    let refusal = world.replica.config.order_cache(reader.request(order("clear", &own, ""))).await;
    assert_eq!(refused(refusal).code, Code::Forbidden);
}
