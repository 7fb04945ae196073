use embermesh_errors::Code;
use embermesh_postgres::Role;
use embermesh_proto::internal::v1::{AttemptOutcome, SettleRequest};

use crate::world::{HOUR, World, charge, limits, reservation, settlement, voided};

#[tokio::test(flavor = "multi_thread")]
async fn repeating_changes_nothing_and_other_values_are_a_conflict() {
    let world = World::new(limits(&[])).await;
    let attempt = world.attempt();
    for _ in 0..3 {
        world.reserve(attempt, "docs", 10).await.unwrap();
    }
    assert_eq!(world.today("docs").await, (0, 10));
    assert_eq!(world.reserve(attempt, "docs", 11).await.unwrap_err().code, Code::Conflict);
    let good = settlement(attempt, "docs", 4);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut ledger, request) = (world.replica.ledger.clone(), world.context.request(good.clone()));
        calls.spawn(async move { ledger.settle(request).await.is_ok() });
    }
    assert!(calls.join_all().await.into_iter().all(|settled| settled));
    assert_eq!(world.today("docs").await, (4, 0));
    // one that is settled is still the same reservation
    world.reserve(attempt, "docs", 10).await.unwrap();

    let request = attempt.to_string();
    let split = vec![charge(&request, "docs", 1), charge(&request, "docs", 3)];
    for other in [
        settlement(attempt, "docs", 5),
        voided(attempt),
        SettleRequest { tokens: 11, ..good.clone() },
        SettleRequest { billed_units: 9, ..good.clone() },
        SettleRequest { outcome: AttemptOutcome::Presumed.into(), ..good.clone() },
        SettleRequest { charges: split, ..good },
    ] {
        assert_eq!(world.settle(other).await.unwrap_err().code, Code::Conflict);
    }
    assert_eq!(world.today("docs").await, (4, 0));
}

#[tokio::test]
async fn charges_sum_to_the_amount_or_nothing_is_written() {
    let world = World::new(limits(&[])).await;
    let attempt = world.attempt();
    world.reserve(attempt, "docs", 10).await.unwrap();
    let with = |charges| SettleRequest { charges, ..settlement(attempt, "docs", 7) };
    let of = |nanos| charge(&attempt.to_string(), "docs", nanos);
    for (param, bad) in [
        ("charges", with(vec![of(3), of(3)])),
        ("charges", with(vec![])),
        ("charges", with(vec![of(i64::MAX), of(i64::MAX)])),
        ("charges[1].amount_nano_usd", with(vec![of(8), of(-1)])),
        ("charges[0].agent_id", with(vec![charge(&attempt.to_string(), "other-agent", 7)])),
        ("charges[1].request_id", with(vec![of(3), charge("other-request", "docs", 4)])),
        ("outcome", SettleRequest { outcome: 0, ..settlement(attempt, "docs", 7) }),
        ("amount_nano_usd", SettleRequest { amount_nano_usd: 7, ..voided(attempt) }),
    ] {
        let error = world.settle(bad).await.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{error}");
    }
    assert_eq!(world.today("docs").await, (0, 10));
    world.settle(with(vec![of(3), of(4)])).await.unwrap();
    assert_eq!(world.today("docs").await, (7, 0));
}

#[tokio::test]
async fn an_attempt_that_cost_more_than_its_bound_is_charged_as_it_was() {
    let world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    let attempt = world.attempt();
    world.reserve(attempt, "docs", 10).await.unwrap();
    world.settle(settlement(attempt, "docs", 15)).await.unwrap();
    assert_eq!(world.today("docs").await, (15, 0));
    assert_eq!(world.reserve(world.attempt(), "docs", 1).await.unwrap_err().code, Code::BudgetExceeded);
}

#[tokio::test]
async fn what_was_never_reserved_cannot_be_settled() {
    let world = World::new(limits(&[])).await;
    assert_eq!(world.settle(settlement(world.attempt(), "docs", 1)).await.unwrap_err().code, Code::NotFound);
    for bad in ["", "x", "00000000-0000-4000-8000-000000000000"] {
        let message = SettleRequest { attempt_id: bad.to_owned(), ..settlement(world.attempt(), "docs", 1) };
        assert_eq!(world.settle(message).await.unwrap_err().param.as_deref(), Some("attempt_id"));
    }
    let early = world.attempt();
    world.clock.advance(HOUR * 25);
    assert_eq!(world.reserve(early, "docs", 1).await.unwrap_err().param.as_deref(), Some("attempt_id"));
    let mut bad = reservation(world.attempt(), "docs", -1);
    bad.parts[0].key_id = String::new();
    assert_eq!(world.share(bad).await.unwrap_err().param.as_deref(), Some("parts[0].amount_nano_usd"));
}

#[tokio::test]
async fn attempts_of_a_router_that_died_are_presumed_at_their_bound_once() {
    let world = World::new(limits(&[("docs", Some(20), None, None)])).await;
    let (lost, late, fresh) = (world.attempt(), world.attempt(), world.attempt());
    world.reserve(lost, "docs", 6).await.unwrap();
    world.reserve(late, "docs", 5).await.unwrap();
    world.clock.advance(HOUR / 10);
    world.reserve(fresh, "docs", 4).await.unwrap();
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 0);
    world.clock.advance(HOUR / 10);
    world.settle(settlement(late, "docs", 3)).await.unwrap();
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 1);
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 0);
    assert_eq!(world.today("docs").await, (9, 4));
    // the truth comes too late: the books have closed
    assert_eq!(world.settle(settlement(lost, "docs", 2)).await.unwrap_err().code, Code::Conflict);
    let operator = world.connect(Role::Operator).await;
    let sql = "SELECT request_id, cost_usd::text FROM embedding_metrics WHERE presumed";
    let row = operator.system().query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get::<_, &str>(1)), (lost.to_string(), "0.000000006"));
}

#[tokio::test]
async fn an_attempt_that_cannot_be_presumed_holds_up_no_other() {
    let world = World::new(limits(&[])).await;
    let broken = world.attempt();
    world.reserve(broken, "broken", 5).await.unwrap();
    // more than a page of them, and none but the oldest is broken
    for _ in 0..520 {
        world.reserve(world.attempt(), "docs", 1).await.unwrap();
    }
    let application = world.connect(Role::App).await;
    let own = application.tenant(world.context.principal.tenant.uuid());
    // less set aside than the attempt would take away
    let lose =
        "UPDATE balances SET reserved = 0 WHERE scope = 'agent' AND subject = 'broken' RETURNING period";
    assert_eq!(own.execute_returning(lose, &[]).await.unwrap().len(), 2);
    world.clock.advance(HOUR);
    assert_eq!(world.replica.service.presume_overdue().await, Ok(520));
    assert_eq!(world.today("docs").await, (520, 0));
    assert_eq!(world.replica.service.presume_overdue().await, Ok(0));
    let repair =
        "UPDATE balances SET reserved = 5 WHERE scope = 'agent' AND subject = 'broken' RETURNING period";
    own.execute_returning(repair, &[]).await.unwrap();
    assert_eq!(world.replica.service.presume_overdue().await, Ok(1));
    assert_eq!(world.today("broken").await, (5, 0));
}

#[tokio::test]
async fn voiding_what_was_never_reserved_finds_nothing_writes_nothing_and_does_not_stop_the_reservation() {
    let world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    let attempt = world.attempt();
    let early = world.settle(voided(attempt)).await.unwrap_err();
    assert_eq!((early.code, early.param.as_deref()), (Code::NotFound, Some("attempt_id")));
    let operator = world.connect(Role::Operator).await;
    let rows = "SELECT (SELECT count(*) FROM attempts) + (SELECT count(*) FROM charges) + (SELECT count(*) FROM balances)";
    assert_eq!(operator.system().query_one(rows, &[]).await.unwrap().get::<_, i64>(0), 0);
    world.reserve(attempt, "docs", 10).await.unwrap();
    world.settle(voided(attempt)).await.unwrap();
    assert_eq!(world.today("docs").await, (0, 0));
}

#[tokio::test]
async fn a_voided_attempt_stays_voided_whatever_arrives_late() {
    let world = World::new(limits(&[("docs", Some(10), None, None)])).await;
    let attempt = world.attempt();
    world.reserve(attempt, "docs", 10).await.unwrap();
    world.settle(voided(attempt)).await.unwrap();
    assert_eq!(world.reserve(attempt, "docs", 10).await.unwrap_err().code, Code::Conflict);
    world.settle(voided(attempt)).await.unwrap();
    assert_eq!(world.settle(settlement(attempt, "docs", 10)).await.unwrap_err().code, Code::Conflict);
    assert_eq!(world.today("docs").await, (0, 0));
}
