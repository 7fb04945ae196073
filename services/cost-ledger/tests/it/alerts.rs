//! Shares of budgets: told once, and shown where the budgets stand.

use embermesh_errors::Error;
use embermesh_proto::v1::{BudgetRule, BudgetState, GetAgentCostsRequest, GetBudgetStatesRequest};
use embermesh_subscription::Snapshot;
use embermesh_transport::CallContext;

use crate::world::{HOUR, World, context, limits, tenant};

fn budget(scope: &str, subject: &str, period: &str, limit: i64, percents: &[u32]) -> BudgetRule {
    BudgetRule {
        id: format!("{scope}-{period}"),
        scope: scope.to_owned(),
        subject: subject.to_owned(),
        period: period.to_owned(),
        limit_nano_usd: limit,
        alert_percents: percents.to_vec(),
        ..BudgetRule::default()
    }
}

fn every_scope() -> Snapshot {
    let docs = limits(&[("docs", Some(1000), Some(9000), None), ("idle", Some(0), None, None)]);
    [
        budget("tenant", "", "month", 2000, &[10]),
        budget("agent", "docs", "day", 4000, &[1]),
        budget("key", "key1", "day", 800, &[]),
        budget("provider", "openai", "day", 100_000, &[]),
        budget("provider", "openai", "request", 1000, &[]),
    ]
    .into_iter()
    .fold(docs, |snapshot, budget| snapshot.with_budget(tenant(1), budget))
}

async fn states(world: &World, by: &CallContext) -> Result<Vec<BudgetState>, Error> {
    let asked = world.replica.reports.clone().get_budget_states(by.request(GetBudgetStatesRequest {})).await;
    asked.map(|states| states.into_inner().budgets).map_err(Error::from)
}

fn percents(state: &BudgetState) -> Vec<u32> {
    state.alerts.iter().map(|alert| alert.percent).collect()
}

async fn look(world: &World) -> usize {
    world.replica.service.look_at_budgets().await.unwrap()
}

#[tokio::test]
async fn each_share_is_told_once_over_replicas_and_again_in_the_next_period() {
    let world = World::new(limits(&[("docs", Some(1000), None, None)])).await;
    let other = world.another_replica().await;
    world.spend("docs", 499).await;
    assert_eq!((look(&world).await, other.service.look_at_budgets().await), (0, Ok(0)));
    // what is set aside counts as well
    world.reserve(world.attempt(), "docs", 1).await.unwrap();
    assert_eq!((look(&world).await, other.service.look_at_budgets().await), (1, Ok(0)));
    assert_eq!(look(&world).await, 0);
    world.spend("docs", 495).await;
    assert_eq!((other.service.look_at_budgets().await, look(&world).await), (Ok(2), 0));
    // one that starts later knows of none, and tells none again
    assert_eq!(world.another_replica().await.service.look_at_budgets().await, Ok(0));
    world.clock.advance(HOUR * 24);
    assert_eq!(look(&world).await, 0);
    world.spend("docs", 600).await;
    assert_eq!(look(&world).await, 1);
}

#[tokio::test]
async fn every_budget_of_a_day_or_a_month_is_shown_fullest_first() {
    let world = World::new(every_scope()).await;
    world.spend("docs", 500).await;
    world.reserve(world.attempt(), "docs", 100).await.unwrap();
    look(&world).await;
    let states = states(&world, &world.context).await.unwrap();
    let shown: Vec<_> = states
        .iter()
        .map(|state| (state.scope.as_str(), state.subject.as_str(), state.period.as_str(), percents(state)))
        .collect();
    assert_eq!(
        shown,
        [
            ("key", "key1", "day", vec![50]),
            ("agent", "docs", "day", vec![50]),
            ("tenant", "", "month", vec![10]),
            // a limit that another one makes idle is shown, and told of no more
            ("agent", "docs", "day", vec![]),
            ("agent", "docs", "month", vec![]),
            ("provider", "openai", "day", vec![]),
            ("agent", "idle", "day", vec![]),
        ]
    );
    let key = &states[0];
    assert_eq!((key.budget_id.as_deref(), key.utilization), (Some("key-day"), Some(0.75)));
    let of_key = key.budget.as_ref().unwrap();
    assert_eq!(
        (of_key.spent_nano_usd, of_key.reserved_nano_usd, of_key.limit_nano_usd),
        (500, 100, Some(800))
    );
    // 600 in the twelve hours to noon: 800 in sixteen
    assert_eq!(of_key.forecast_reached_at.unwrap().seconds, 1_795_348_800 + 4 * 3600);
    assert_eq!(of_key.resets_at.unwrap().seconds, 1_795_348_800 + 12 * 3600);
    assert_eq!((states[1].budget_id.as_deref(), states[1].utilization), (None, Some(0.6)));
    let provider = states[5].budget.as_ref().unwrap();
    assert_eq!(provider.forecast_reached_at, None);
    assert_eq!(states[6].utilization, None);
}

#[tokio::test]
async fn a_key_of_one_agent_sees_its_own_budgets_alone() {
    let world = World::new(every_scope()).await;
    let seen = states(&world, &context(tenant(1), Some("idle"))).await.unwrap();
    let seen: Vec<_> = seen.iter().map(|state| (state.scope.as_str(), state.subject.as_str())).collect();
    assert_eq!(seen, [("key", "key1"), ("agent", "idle")]);
    let other = states(&world, &context(tenant(2), None)).await.unwrap();
    assert!(other.is_empty(), "{other:?}");
}

#[tokio::test]
async fn no_budgets_are_shown_before_they_are_known() {
    let mut world = World::new(every_scope()).await;
    world.replica = world.uninformed_replica().await;
    assert_eq!(look(&world).await, 0);
    let error = states(&world, &world.context).await.unwrap_err();
    assert!(error.message.contains("does not know the budgets"), "{error}");
    let ask = GetAgentCostsRequest { agent_id: "docs".to_owned(), period_days: None };
    let costs = world.replica.reports.clone().get_agent_costs(world.context.request(ask)).await.unwrap();
    assert_eq!(costs.into_inner().budget, None);
}

#[tokio::test]
async fn the_day_of_an_agent_has_the_smallest_of_its_limits() {
    let snapshot = limits(&[("docs", Some(1000), None, None)]);
    let snapshot = snapshot.with_budget(tenant(1), budget("agent", "docs", "day", 700, &[]));
    let world = World::new(snapshot).await;
    world.spend("docs", 70).await;
    let ask = GetAgentCostsRequest { agent_id: "docs".to_owned(), period_days: None };
    let costs = world.replica.reports.clone().get_agent_costs(world.context.request(ask)).await.unwrap();
    let budget = costs.into_inner().budget.unwrap();
    assert_eq!((budget.limit_nano_usd, budget.spent_nano_usd), (Some(700), 70));
    assert_eq!(budget.forecast_reached_at, None);
}
