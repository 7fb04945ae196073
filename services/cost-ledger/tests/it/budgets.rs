use std::time::Duration;

use embermesh_errors::Code;

use embermesh_types::{AgentId, TenantId};

use crate::world::{HOUR, World, context, limits, reservation, settlement, voided};

fn system() -> embermesh_transport::CallContext {
    context(TenantId::SYSTEM, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_at_once_over_two_replicas_exactly_those_who_fit_get_in() {
    let world = World::new(limits(&[("docs", Some(230), None, None)])).await;
    let other = world.another_replica().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..64 {
        let mut ledger = if n % 2 == 0 { world.replica.ledger.clone() } else { other.ledger.clone() };
        let request = world.context.request(reservation(world.attempt(), "docs", 10));
        calls.spawn(async move { ledger.reserve(request).await.map_err(embermesh_errors::Error::from) });
    }
    let outcomes = calls.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(admitted, 23);
    for refusal in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(refusal.code, Code::BudgetExceeded);
        assert_eq!(refusal.retry_after, Some(HOUR * 12));
        assert_eq!(refusal.details["limit"], 2.3e-7);
        assert_eq!(refusal.details["period"], "day");
    }
    assert_eq!(world.today("docs").await, (0, 230));
}

#[tokio::test]
async fn every_kind_of_limit_refuses_and_agents_without_one_spend_freely() {
    let world = World::new(limits(&[
        ("day", Some(10), Some(100), None),
        ("month", Some(50), Some(60), None),
        ("request", None, None, Some(5)),
        ("nothing", Some(0), None, None),
    ]))
    .await;
    world.spend("day", 10).await;
    let error = world.reserve(world.attempt(), "day", 1).await.unwrap_err();
    assert_eq!((&error.details["period"], &error.details["spent"]), (&"day".into(), &1e-8.into()));

    world.spend("month", 50).await;
    world.clock.advance(HOUR * 24);
    let error = world.reserve(world.attempt(), "month", 11).await.unwrap_err();
    assert_eq!(error.details["period"], "month");
    // from the 23rd at noon to the 1st
    assert_eq!(error.retry_after, Some(HOUR * (7 * 24 + 12)));
    world.reserve(world.attempt(), "month", 10).await.unwrap();

    let error = world.reserve(world.attempt(), "request", 6).await.unwrap_err();
    assert_eq!((&error.details["period"], error.retry_after), (&"request".into(), None));
    assert_eq!(world.reserve(world.attempt(), "nothing", 1).await.unwrap_err().code, Code::BudgetExceeded);
    world.reserve(world.attempt(), "nothing", 0).await.unwrap();
    world.reserve(world.attempt(), "unknown", i64::MAX / 4).await.unwrap();
}

#[tokio::test]
async fn what_is_voided_or_cheaper_than_its_bound_is_free_again() {
    let world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    let (first, second) = (world.attempt(), world.attempt());
    world.reserve(first, "docs", 10).await.unwrap();
    assert!(world.reserve(second, "docs", 1).await.is_err());
    world.settle(voided(first)).await.unwrap();
    // a refused attempt may be tried again
    world.reserve(second, "docs", 10).await.unwrap();
    world.settle(settlement(second, "docs", 4)).await.unwrap();
    assert_eq!(world.today("docs").await, (4, 0));
    world.reserve(world.attempt(), "docs", 6).await.unwrap();
    assert!(world.reserve(world.attempt(), "docs", 1).await.is_err());
}

#[tokio::test]
async fn an_attempt_over_midnight_is_paid_by_the_day_that_reserved_it() {
    let world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    world.clock.advance(HOUR * 12 - Duration::from_secs(1));
    let attempt = world.attempt();
    world.reserve(attempt, "docs", 10).await.unwrap();
    world.clock.advance(Duration::from_secs(2));
    // the new day has a budget of its own, and the old one's end does not touch it
    world.reserve(world.attempt(), "docs", 10).await.unwrap();
    world.settle(settlement(attempt, "docs", 7)).await.unwrap();
    assert_eq!(world.balance("docs", "day", "2026-11-22").await, (7, 0));
    assert_eq!(world.balance("docs", "day", "2026-11-23").await, (0, 10));
    assert_eq!(world.balance("docs", "month", "2026-11-01").await, (7, 10));
}

#[tokio::test]
async fn free_attempts_are_on_the_books_and_touch_no_balance() {
    let world = World::new(limits(&[("docs", Some(0), None, None)])).await;
    world.spend("docs", 0).await;
    let operator = world.connect(embermesh_postgres::Role::Operator).await;
    let count =
        "SELECT (SELECT count(*) FROM attempts WHERE state = 'settled'), (SELECT count(*) FROM charges),
                        (SELECT count(*) FROM balances)";
    let row = operator.system().query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 1, 0));
}

#[tokio::test]
async fn before_the_budgets_are_known_nothing_that_costs_gets_in() {
    let mut world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    let (before, repeated) = (world.attempt(), world.attempt());
    world.reserve(before, "docs", 4).await.unwrap();
    world.reserve(repeated, "docs", 3).await.unwrap();

    let uninformed = world.uninformed_replica().await;
    let informed = std::mem::replace(&mut world.replica, uninformed);
    for agent in ["docs", "without-limits"] {
        let error = world.reserve(world.attempt(), agent, 1).await.unwrap_err();
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("does not know the budgets"), "{error}");
        world.reserve(world.attempt(), agent, 0).await.unwrap();
    }
    // what was let in under the budgets stays so, and ends
    world.reserve(repeated, "docs", 3).await.unwrap();
    world.settle(settlement(before, "docs", 4)).await.unwrap();
    assert_eq!(world.today("docs").await, (4, 3));

    // Embermesh's own calls have no budget to wait for
    world
        .replica
        .ledger
        .clone()
        .reserve(system().request(reservation(world.attempt(), AgentId::SYSTEM, 5)))
        .await
        .unwrap();

    world.replica = informed;
    world.reserve(world.attempt(), "docs", 3).await.unwrap();
    assert_eq!(world.reserve(world.attempt(), "docs", 1).await.unwrap_err().code, Code::BudgetExceeded);
}
