use std::time::Duration;

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{Entry, Hit, PostRequest, entry::Entry as Value},
    v1::{CostReport, GetAgentCostsRequest, GetCostReportRequest, GetCostsByAgentRequest},
};

use crate::world::{HOUR, World, context, limits, reservation, settlement, tenant};

async fn hits(world: &World, agent: &str, saved: i64) {
    let hit = || Hit {
        request_id: "hit".to_owned(),
        agent_id: agent.to_owned(),
        key_id: "key1".to_owned(),
        provider: "openai".to_owned(),
        model: "small".to_owned(),
        tokens: 7,
        inputs: 2,
        saved_nano_usd: saved,
        charge_id: world.attempt().to_string(),
    };
    let entries = [hit(), hit()].map(|hit| Entry { entry: Some(Value::Hit(hit)) }).to_vec();
    let request = world.context.request(PostRequest { entries, ..PostRequest::default() });
    world.replica.ledger.clone().post(request).await.unwrap();
}

/// Two agents, three days, two models.
async fn history() -> World {
    let world = World::new(limits(&[("docs", Some(1000), None, None)])).await;
    world.spend("docs", 100).await;
    world.clock.advance(HOUR * 24);
    world.spend("code", 7).await;
    world.clock.advance(HOUR * 23);
    let attempt = world.attempt();
    let mut large = reservation(attempt, "docs", 40);
    large.model = "large".to_owned();
    large.provider = "azure".to_owned();
    world.replica.ledger.clone().reserve(world.context.request(large)).await.unwrap();
    world.settle(settlement(attempt, "docs", 30)).await.unwrap();
    hits(&world, "docs", 5).await;
    world.reserve(world.attempt(), "docs", 3).await.unwrap();
    // a report ends before `now`
    world.clock.advance(Duration::from_secs(1));
    world
}

async fn report(world: &World, request: GetCostReportRequest) -> CostReport {
    let request = world.context.request(request);
    world.replica.reports.clone().get_cost_report(request).await.unwrap().into_inner()
}

fn rows(report: &CostReport) -> Vec<(&str, i64)> {
    report.rows.iter().map(|row| (row.key.as_str(), row.cost_nano_usd)).collect()
}

#[tokio::test]
async fn an_agents_costs_add_up_three_ways() {
    let world = history().await;
    let ask = |agent: &str, days| GetAgentCostsRequest { agent_id: agent.to_owned(), period_days: days };
    let request = world.context.request(ask("docs", None));
    let costs = world.replica.reports.clone().get_agent_costs(request).await.unwrap().into_inner();
    assert_eq!((costs.total_cost_nano_usd, costs.period_days), (130, 30));
    for parts in [&costs.by_provider, &costs.by_model, &costs.by_day] {
        assert_eq!(parts.values().sum::<i64>(), 130);
    }
    assert_eq!(costs.by_model.get("large"), Some(&30));
    assert_eq!(costs.by_day.get("2026-11-24"), Some(&30));
    // two attempts and the hits' one request; only attempts used tokens
    assert_eq!((costs.request_count, costs.tokens_used), (3, 20));
    let budget = costs.budget.unwrap();
    assert_eq!(budget.limit_nano_usd, Some(1000));
    assert_eq!((budget.spent_nano_usd, budget.reserved_nano_usd), (30, 3));
    // 2026-11-25T00:00:00Z
    assert_eq!(budget.resets_at.unwrap().seconds, 1_795_564_800);

    let request = world.context.request(ask("docs", Some(1)));
    let today = world.replica.reports.clone().get_agent_costs(request).await.unwrap().into_inner();
    assert_eq!(today.total_cost_nano_usd, 30);
    let request = world.context.request(ask("never-seen", Some(365)));
    let none = world.replica.reports.clone().get_agent_costs(request).await.unwrap().into_inner();
    assert_eq!((none.total_cost_nano_usd, none.budget.unwrap().limit_nano_usd), (0, None));
    for days in [0, 366] {
        let request = world.context.request(ask("docs", Some(days)));
        let error = Error::from(world.replica.reports.clone().get_agent_costs(request).await.unwrap_err());
        assert_eq!(error.param.as_deref(), Some("period_days"));
    }
}

#[tokio::test]
async fn a_report_is_the_sum_of_its_rows_in_every_grouping() {
    let world = history().await;
    let last_day = report(&world, GetCostReportRequest::default()).await;
    assert_eq!(last_day.group_by, "agent");
    assert_eq!(rows(&last_day), [("docs", 30), ("code", 7)]);
    assert_eq!((last_day.total_cost_nano_usd, last_day.saved_nano_usd), (37, 10));
    assert_eq!(last_day.rows[0].cached_count, 4);

    let from = Some(prost_types::Timestamp { seconds: 1_795_348_800, nanos: 0 });
    for (group_by, expected) in [
        ("agent", vec![("docs", 130), ("code", 7)]),
        ("model", vec![("small", 107), ("large", 30)]),
        ("provider", vec![("openai", 107), ("azure", 30)]),
        ("key", vec![("key1", 137)]),
        ("day", vec![("2026-11-22", 100), ("2026-11-23", 7), ("2026-11-24", 30)]),
        (
            "hour",
            vec![("2026-11-22T12:00:00Z", 100), ("2026-11-23T12:00:00Z", 7), ("2026-11-24T11:00:00Z", 30)],
        ),
    ] {
        // `to` is the end, not part of it
        let to = Some(prost_types::Timestamp { seconds: 1_795_348_800 + 48 * 3600, nanos: 0 });
        let request = GetCostReportRequest {
            from,
            to,
            group_by: Some(group_by.to_owned()),
            ..GetCostReportRequest::default()
        };
        let whole = report(&world, request).await;
        assert_eq!(rows(&whole), expected, "{group_by}");
        assert_eq!(whole.total_cost_nano_usd, 137);
    }
}

#[tokio::test]
async fn the_last_day_by_agent_shows_budgets_dearest_first() {
    let world = history().await;
    let request = world.context.request(GetCostsByAgentRequest {});
    let costs = world.replica.reports.clone().get_costs_by_agent(request).await.unwrap().into_inner();
    let agents: Vec<(&str, i64)> =
        costs.agents.iter().map(|agent| (agent.agent_id.as_str(), agent.total_cost_nano_usd)).collect();
    assert_eq!(agents, [("docs", 30), ("code", 7)]);
    let budgets: Vec<Option<i64>> =
        costs.agents.iter().map(|agent| agent.budget.as_ref().unwrap().limit_nano_usd).collect();
    assert_eq!(budgets, [Some(1000), None]);
}

#[tokio::test]
async fn a_key_of_one_agent_sees_that_agent_alone() {
    let world = history().await;
    let bound = context(tenant(1), Some("code"));
    let mut reports = world.replica.reports.clone();
    let seen =
        reports.get_cost_report(bound.request(GetCostReportRequest::default())).await.unwrap().into_inner();
    assert_eq!(rows(&seen), [("code", 7)]);
    assert_eq!(seen.total_cost_nano_usd, 7);
    let seen =
        reports.get_costs_by_agent(bound.request(GetCostsByAgentRequest {})).await.unwrap().into_inner();
    assert_eq!(seen.agents.len(), 1);
    let other = GetAgentCostsRequest { agent_id: "docs".to_owned(), period_days: None };
    let error = Error::from(reports.get_agent_costs(bound.request(other)).await.unwrap_err());
    assert_eq!(error.code, Code::Forbidden);
}

#[tokio::test]
async fn csv_is_known_to_rest_alone() {
    let world = history().await;
    let ask = GetCostReportRequest { format: Some("csv".to_owned()), ..GetCostReportRequest::default() };
    let refused =
        world.replica.reports.clone().get_cost_report(world.context.request(ask)).await.unwrap_err();
    assert_eq!(Error::from(refused).param.as_deref(), Some("format"));
}
