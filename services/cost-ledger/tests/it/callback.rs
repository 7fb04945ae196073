//! Money in leases while a call needs it.

use std::time::Duration;

use embermesh_cost_ledger::Settings;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{CalledBack, RenewRequest};

use crate::{
    router::{Lease, Router},
    world::{World, limits, reservation},
};

/// Returns whatever is called back, until the task is dropped.
async fn give_back(router: Router, lease: Lease) {
    loop {
        let request = RenewRequest { session_id: router.session.clone() };
        let reply = router.ledger.clone().renew(router.context.request(request)).await.unwrap().into_inner();
        if reply.leases.iter().any(|called| called.lease_id == lease.id) {
            router.post(vec![lease.returned(lease.granted, true)]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_budget_for_k_calls_exactly_k_get_in_though_other_routers_hold_leases_of_it() {
    // as long as it takes, however busy the machine is
    let patient = Settings { call_back_ms: 60_000, ..Settings::default() };
    let world = World::with(limits(&[("docs", Some(1_000), None, None)]), patient.clone()).await;
    let other = world.another_replica_with(patient).await;
    let mut holders = tokio::task::JoinSet::new();
    for n in 0..4 {
        let mut router = Router::new(&world);
        if n % 2 == 0 {
            router.ledger = other.ledger.clone();
        }
        let lease = router.lease("docs", 10).await;
        holders.spawn(give_back(router, lease));
    }
    let [_, _, leased, _] = world.day_of("docs").await;
    assert!(leased > 30, "{leased}");
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..64 {
        let mut ledger = if n % 2 == 0 { world.replica.ledger.clone() } else { other.ledger.clone() };
        let request = world.context.request(reservation(world.attempt(), "docs", 20));
        calls.spawn(async move { ledger.reserve(request).await.map_err(Error::from) });
    }
    let outcomes = calls.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|error| error.code == Code::BudgetExceeded));
    assert_eq!(world.day_of("docs").await, [0, 1_000, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_called_back_is_named_to_its_router_at_another_replica_until_it_is_closed() {
    let world = World::new(limits(&[("docs", Some(1_000), None, None)])).await;
    let other = world.another_replica().await;
    let mut router = Router::new(&world);
    router.ledger = other.ledger.clone();
    let lease = router.lease("docs", 10).await;
    let unneeded = router.lease("code", 10).await;
    let renewed = async || {
        let request = RenewRequest { session_id: router.session.clone() };
        router.ledger.clone().renew(router.context.request(request)).await.unwrap().into_inner().leases
    };
    // only together with what is leased there is room
    let refused = async { world.reserve(world.attempt(), "docs", 995).await.unwrap_err() };
    let (called, refused) = tokio::join!(renewed(), refused);
    let tenant_id = world.context.principal.tenant.to_string();
    let expected = [CalledBack { tenant_id, lease_id: lease.id.clone() }];
    assert_eq!(called, expected);
    // nobody gave it back in time
    assert_eq!((refused.code, &refused.details["reserved"]), (Code::BudgetExceeded, &1e-8.into()));
    assert_eq!(renewed().await, expected);
    router.post(vec![lease.returned(10, true)]).await;
    world.reserve(world.attempt(), "docs", 995).await.unwrap();
    assert_eq!(world.day_of("code").await, [0, 0, unneeded.granted, 0]);
}

#[tokio::test]
async fn a_call_that_has_no_room_even_without_leases_is_refused_and_calls_nothing_back() {
    let world = World::new(limits(&[("docs", Some(1_000), None, None)])).await;
    let router = Router::new(&world);
    router.lease("docs", 10).await;
    assert_eq!(world.reserve(world.attempt(), "docs", 1_001).await.unwrap_err().code, Code::BudgetExceeded);
    let operator = world.connect(embermesh_postgres::Role::Operator).await;
    let called = "SELECT called_back FROM leases";
    assert!(!operator.system().query_one(called, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_caller_in_a_hurry_is_refused_before_its_time_is_up() {
    let world = World::new(limits(&[("docs", Some(1_000), None, None)])).await;
    Router::new(&world).lease("docs", 10).await;
    let mut hurried = world.context.clone();
    hurried.deadline = Some(std::time::Instant::now() + Duration::from_millis(400));
    let request = hurried.request(reservation(world.attempt(), "docs", 995));
    let error: Error = world.replica.ledger.clone().reserve(request).await.unwrap_err().into();
    assert_eq!(error.code, Code::BudgetExceeded);
}
