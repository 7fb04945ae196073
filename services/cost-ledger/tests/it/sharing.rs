use std::time::Duration;

use embermesh_errors::Code;
use embermesh_postgres::Role;
use embermesh_proto::internal::v1::{AttemptOutcome, RefusedPart, SettleRequest};

use crate::world::{HOUR, World, charge, limits, part, settled, shared, voided};

fn positions(refused: &[RefusedPart]) -> Vec<(u32, &str)> {
    refused.iter().map(|refused| (refused.part, &*refused.failure.as_ref().unwrap().code)).collect()
}

#[tokio::test]
async fn agents_that_share_a_call_each_pay_their_own_part_to_the_nano() {
    let world = World::new(limits(&[("docs", Some(10), None, None), ("code", Some(20), None, None)])).await;
    let attempt = world.attempt();
    let parts = vec![part("a", "docs", 7), part("b", "code", 9), part("c", "docs", 3)];
    assert_eq!(world.share(shared(attempt, parts)).await.unwrap(), []);
    assert_eq!((world.today("docs").await, world.today("code").await), ((0, 10), (0, 9)));
    assert_eq!(world.reserve(world.attempt(), "docs", 1).await.unwrap_err().code, Code::BudgetExceeded);

    let charges = vec![charge("a", "docs", 5), charge("b", "code", 9), charge("c", "docs", 2)];
    let message = SettleRequest { billed_units: 77, ..settled(attempt, charges) };
    for _ in 0..2 {
        world.settle(message.clone()).await.unwrap();
        assert_eq!((world.today("docs").await, world.today("code").await), ((7, 0), (9, 0)));
    }
    let operator = world.connect(Role::Operator).await;
    let sql = "SELECT reserved_nano_usd, amount_nano_usd, tokens_bound, inputs, billed_units, agent_id IS NULL FROM attempts";
    let row = operator.system().query_one(sql, &[]).await.unwrap();
    let figures = [0, 1, 2].map(|column| row.get::<_, i64>(column));
    assert_eq!((figures, row.get::<_, i32>(3)), ([19, 16, 300], 9));
    assert_eq!((row.get(4), row.get(5)), (Some(77_i64), true));
    let sql = "SELECT request_id, agent_id, cost_usd::text FROM embedding_metrics ORDER BY 1";
    let rows = operator.system().query(sql, &[]).await.unwrap();
    let rows: Vec<(&str, &str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let expected = [("a", "docs", "0.000000005"), ("b", "code", "0.000000009"), ("c", "docs", "0.000000002")];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn who_is_over_budget_is_told_by_position_and_the_others_go_on() {
    let agents =
        [("poor", Some(5), None, None), ("rich", Some(50), None, None), ("small", None, None, Some(2))];
    let world = World::new(limits(&agents)).await;
    let attempt = world.attempt();
    // the second of the poor agent's parts no longer fits, a later and smaller one does
    let parts = vec![
        part("a", "poor", 4),
        part("b", "poor", 4),
        part("c", "rich", 6),
        part("d", "small", 3),
        part("e", "poor", 1),
    ];
    let message = shared(attempt, parts);
    let refused = world.share(message.clone()).await.unwrap();
    assert_eq!(positions(&refused), [(1, "budget_exceeded"), (3, "budget_exceeded")]);
    let budget = refused[0].failure.as_ref().unwrap();
    assert_eq!(Duration::from_millis(budget.retry_after_ms), HOUR * 12);
    assert!(budget.details.contains("\"period\":\"day\""), "{}", budget.details);
    assert_eq!(refused[1].failure.as_ref().unwrap().retry_after_ms, 0);
    assert_eq!((world.today("poor").await, world.today("rich").await), ((0, 5), (0, 6)));

    // asked again, even with room by now, the answer is the same, word for word
    world.clock.advance(HOUR * 13);
    assert_eq!(world.share(message.clone()).await.unwrap(), refused);
    let mut other = message.clone();
    other.parts[1].amount_nano_usd = 3;
    assert_eq!(world.share(other).await.unwrap_err().code, Code::Conflict);

    let with = |extra| settled(attempt, vec![charge("a", "poor", 4), charge("c", "rich", 5), extra]);
    for (param, extra) in [
        ("charges[2].request_id", charge("b", "poor", 0)),
        ("charges[2].agent_id", charge("d", "small", 1)),
        ("charges[2].agent_id", charge("e", "nobody", 1)),
        ("charges[2].request_id", charge("a", "rich", 1)),
    ] {
        let error = world.settle(with(extra)).await.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{error}");
    }
    world.settle(with(charge("e", "poor", 1))).await.unwrap();
    assert_eq!((world.today("poor").await, world.today("rich").await), ((5, 0), (5, 0)));
    assert_eq!(world.today("small").await, (0, 0));
}

#[tokio::test]
async fn one_that_is_left_of_several_is_shared_all_the_same() {
    let world = World::new(limits(&[("poor", Some(0), None, None)])).await;
    let attempt = world.attempt();
    let message = shared(attempt, vec![part("a", "poor", 1), part("b", "docs", 6)]);
    for _ in 0..2 {
        let refused = world.share(message.clone()).await.unwrap();
        assert_eq!(positions(&refused), [(0, "budget_exceeded")]);
    }
    // more than its bound, as the provider says
    world.settle(settled(attempt, vec![charge("b", "docs", 8)])).await.unwrap();
    assert_eq!((world.today("poor").await, world.today("docs").await), ((0, 0), (8, 0)));
}

#[tokio::test]
async fn when_all_are_refused_there_is_no_attempt() {
    let world = World::new(limits(&[("poor", Some(5), None, None)])).await;
    let attempt = world.attempt();
    let parts = vec![part("a", "poor", 6), part("b", "poor", 7)];
    let refused = world.share(shared(attempt, parts.clone())).await.unwrap();
    assert_eq!(positions(&refused), [(0, "budget_exceeded"), (1, "budget_exceeded")]);
    assert_eq!(world.settle(voided(attempt)).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.today("poor").await, (0, 0));
    // a lone refusal is the call's error
    assert_eq!(
        world.share(shared(attempt, parts[..1].to_vec())).await.unwrap_err().code,
        Code::BudgetExceeded
    );
    assert_eq!(world.share(shared(attempt, vec![])).await.unwrap_err().param.as_deref(), Some("parts"));
    let parts = vec![part("a", "docs", i64::MAX), part("b", "docs", 1)];
    assert_eq!(world.share(shared(attempt, parts)).await.unwrap_err().param.as_deref(), Some("parts"));
}

#[tokio::test]
async fn a_voided_shared_attempt_costs_nobody_anything() {
    let world = World::new(limits(&[("docs", Some(5), None, None)])).await;
    let attempt = world.attempt();
    let message = shared(attempt, vec![part("a", "docs", 5), part("b", "code", 7)]);
    world.share(message.clone()).await.unwrap();
    for _ in 0..2 {
        world.settle(voided(attempt)).await.unwrap();
    }
    assert_eq!((world.today("docs").await, world.today("code").await), ((0, 0), (0, 0)));
    assert_eq!(world.share(message).await.unwrap_err().code, Code::Conflict);
    let late = settled(attempt, vec![charge("a", "docs", 5)]);
    assert_eq!(world.settle(late).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn of_a_router_that_died_each_agent_is_charged_its_own_bound() {
    let world = World::new(limits(&[("docs", Some(20), None, None), ("poor", Some(1), None, None)])).await;
    let (two, one) = (world.attempt(), world.attempt());
    let parts = vec![part("a", "docs", 5), part("b", "code", 7), part("c", "poor", 2), part("d", "docs", 1)];
    assert_eq!(positions(&world.share(shared(two, parts)).await.unwrap()), [(2, "budget_exceeded")]);
    world.reserve(one, "docs", 3).await.unwrap();
    world.clock.advance(HOUR);
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 2);
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 0);
    assert_eq!((world.today("docs").await, world.today("code").await), ((9, 0), (7, 0)));
    assert_eq!(world.today("poor").await, (0, 0));
    let operator = world.connect(Role::Operator).await;
    let sql = "SELECT request_id, agent_id, amount_nano_usd, tokens, inputs, presumed FROM charges
               WHERE attempt_id = $1 ORDER BY 1";
    let rows = operator.system().query(sql, &[&two]).await.unwrap();
    let rows: Vec<(&str, &str, i64, i64, i32, bool)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)))
        .collect();
    let expected =
        [("a", "docs", 5, 100, 3, true), ("b", "code", 7, 100, 3, true), ("d", "docs", 1, 100, 3, true)];
    assert_eq!(rows, expected);
    // whoever presumed it says so again, and is right
    let charges = rows.iter().map(|(request, agent, nanos, ..)| embermesh_proto::internal::v1::Charge {
        tokens: 100,
        inputs: 3,
        ..charge(request, agent, *nanos)
    });
    let again = SettleRequest { outcome: AttemptOutcome::Presumed.into(), ..settled(two, charges.collect()) };
    world.settle(again).await.unwrap();
    assert_eq!(world.settle(voided(two)).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_and_lone_attempts_at_once_over_two_replicas_pass_no_budget() {
    let world = World::new(limits(&[("docs", Some(230), None, None), ("code", Some(150), None, None)])).await;
    let other = world.another_replica().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..48 {
        let mut ledger = if n % 2 == 0 { world.replica.ledger.clone() } else { other.ledger.clone() };
        // in both orders, so that locks are asked for in both
        let (first, second) = if n % 3 == 0 { ("docs", "code") } else { ("code", "docs") };
        let parts = vec![part("a", first, 10), part("b", second, 10)];
        let request = world.context.request(shared(world.attempt(), parts));
        calls.spawn(async move { ledger.reserve(request).await.unwrap().into_inner().refused.len() });
    }
    let refused: usize = calls.join_all().await.into_iter().sum();
    assert_eq!(refused, 48 * 2 - 23 - 15);
    assert_eq!((world.today("docs").await, world.today("code").await), ((0, 230), (0, 150)));
}
