use embermesh_errors::Code;
use embermesh_proto::v1::BudgetRule;
use uuid::Uuid;

use crate::{
    router::{Router, settlement},
    world::{HOUR, World, limits, reservation, tenant},
};

#[tokio::test]
async fn what_is_spent_out_of_a_lease_moves_from_leased_to_spent_in_every_account() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 80).await;
    assert_eq!((lease.granted, &*lease.day), (80, "2026-11-22"));
    let attempt = world.attempt();
    router.post(vec![lease.reserved(&world, reservation(attempt, "docs", 30))]).await;
    assert_eq!(world.day_of("docs").await, [0, 0, 80, 0]);
    router.post(vec![settlement(attempt, "docs", 20)]).await;
    for account in [("tenant", ""), ("agent", "docs"), ("key", "key1"), ("provider", "openai")] {
        for (period, start) in [("day", "2026-11-22"), ("month", "2026-11-01")] {
            assert_eq!(world.account(account, period, start).await, [20, 0, 60, 0], "{account:?} {period}");
        }
    }
    router.post(vec![lease.returned(60, true)]).await;
    assert_eq!(world.day_of("docs").await, [20, 0, 0, 0]);
    assert_eq!(router.ask(router.wish(&lease.id, "docs", 1, 80)).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn asking_again_for_the_same_lease_grants_nothing_more_and_anothers_is_a_conflict() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 50).await;
    for _ in 0..3 {
        let again = router.ask(router.wish(&lease.id, "docs", 1, 90)).await.unwrap();
        assert_eq!((again.granted, &again.day), (50, &lease.day));
    }
    assert_eq!(world.day_of("docs").await, [0, 0, 50, 0]);
    let other = router.ask(router.wish(&lease.id, "code", 1, 50)).await.unwrap_err();
    assert_eq!((other.code, other.param.as_deref()), (Code::Conflict, Some("lease_id")));
    let stranger = Router::new(&world);
    assert_eq!(stranger.ask(stranger.wish(&lease.id, "docs", 1, 50)).await.unwrap_err().code, Code::Conflict);
    for (bad, param) in [("", "lease_id"), ("x", "lease_id")] {
        let error = router.ask(router.wish(bad, "docs", 1, 50)).await.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_over_two_replicas_never_pass_a_limit_and_leave_the_last_part_alone() {
    let budget = BudgetRule {
        id: Uuid::from_u128(7).to_string(),
        scope: "tenant".to_owned(),
        period: "day".to_owned(),
        limit_nano_usd: 100_000,
        ..BudgetRule::default()
    };
    let world = World::new(limits(&[]).with_budget(tenant(1), budget)).await;
    let other = world.another_replica().await;
    let routers = [&world.replica, &other, &world.replica, &other].map(|replica| {
        let ledger = replica.ledger.clone();
        Router { ledger, ..Router::new(&world) }
    });
    let mut asks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let router = routers[n % routers.len()].clone();
        asks.spawn(async move {
            let (id, agent) = (Uuid::now_v7().to_string(), format!("agent-{}", n % 3));
            router.ask(router.wish(&id, &agent, 1, 50_000)).await.unwrap()
        });
    }
    let replies = asks.join_all().await;
    let granted: i64 = replies.iter().map(|reply| reply.granted).sum();
    assert!(replies.iter().all(|reply| (reply.granted == 0) == (reply.ask_again_ms > 0)));
    // a twenty-fifth of the limit, whoever asks
    assert_eq!(granted, 4_000);
    assert_eq!(world.account(("tenant", ""), "day", "2026-11-22").await, [0, 0, 4_000, 0]);
    // near the limit each call is decided by itself
    world.spend("agent-0", 92_000).await;
    let router = Router::new(&world);
    let reply = router.ask(router.wish(&Uuid::now_v7().to_string(), "agent-0", 1, 10)).await.unwrap();
    assert_eq!(reply.granted, 0);
    assert!(reply.ask_again_ms > 0);
}

#[tokio::test]
async fn nothing_is_leased_before_the_budgets_are_known() {
    let world = World::new(limits(&[])).await;
    let mut router = Router::new(&world);
    router.ledger = world.uninformed_replica().await.ledger;
    let reply = router.ask(router.wish(&Uuid::now_v7().to_string(), "docs", 1, 10)).await.unwrap();
    assert_eq!(reply.granted, 0);
    assert!(reply.ask_again_ms > 0);
}

#[tokio::test]
async fn returns_are_cumulative_and_come_in_any_number() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    for returned in [30, 30, 10, 45, 45] {
        router.post(vec![lease.returned(returned, false)]).await;
    }
    assert_eq!(world.day_of("docs").await, [0, 0, 55, 0]);
    for _ in 0..2 {
        router.post(vec![lease.returned(45, true)]).await;
        assert_eq!(world.day_of("docs").await, [0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn a_lease_that_is_closed_holds_the_bounds_of_its_open_attempts_until_they_end() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let attempt = world.attempt();
    router
        .post(vec![lease.reserved(&world, reservation(attempt, "docs", 30)), lease.returned(70, true)])
        .await;
    assert_eq!(world.day_of("docs").await, [0, 0, 30, 0]);
    router.post(vec![settlement(attempt, "docs", 25)]).await;
    assert_eq!(world.day_of("docs").await, [25, 0, 0, 0]);
    assert_eq!(states(&world).await, ["closed"]);
}

#[tokio::test]
async fn a_lease_is_of_one_day_and_ends_on_it() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let yesterday = router.lease("docs", 100).await;
    let attempt = world.attempt();
    let reserved = yesterday.reserved(&world, reservation(attempt, "docs", 40));
    world.clock.advance(HOUR * 13);
    // it was reserved before midnight, and is told after it
    router.post(vec![reserved]).await;
    let today = router.lease("docs", 100).await;
    assert_eq!((&*yesterday.day, &*today.day), ("2026-11-22", "2026-11-23"));
    let mut mixed = yesterday.clone();
    mixed.day.clone_from(&today.day);
    let late = mixed.reserved(&world, reservation(world.attempt(), "docs", 5));
    let rejected = router.try_post(vec![late], false).await.unwrap();
    assert_eq!(rejected.len(), 1);
    router.post(vec![settlement(attempt, "docs", 25), yesterday.returned(60, true)]).await;
    assert_eq!(world.account(("agent", "docs"), "day", "2026-11-22").await, [25, 0, 0, 0]);
    assert_eq!(world.account(("agent", "docs"), "day", "2026-11-23").await, [0, 0, 100, 0]);
    assert_eq!(world.account(("agent", "docs"), "month", "2026-11-01").await, [25, 0, 100, 0]);
}

pub(crate) async fn states(world: &World) -> Vec<String> {
    let operator = world.connect(embermesh_postgres::Role::Operator).await;
    let rows = operator.system().query("SELECT state FROM leases ORDER BY lease_id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
