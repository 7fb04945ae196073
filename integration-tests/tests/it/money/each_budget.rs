//! Budgets of every scope and period: each holds to the nano-dollar, several hold at once, and the refusal says which one it was.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{
    budgets::Budget,
    fleet::{COST, EMBED, EVEN, Fleet, PROVIDER, Tally, one, text},
    nanos, usd,
};
use crate::{client::Answer, running::wait_until};

const DAY: u64 = 86_400;

/// The refusal of a budget that is used up: which one, how it stands, and when to come again.
#[track_caller]
fn assert_used_up(answer: &Answer, scope: &str, subject: &str, period: &str, limit: i64) {
    let message = answer.refused(402, "budget_exceeded").to_owned();
    let details = &answer.body["error"]["details"];
    let told = |name: &str| details[name].as_str().unwrap_or_default().to_owned();
    assert_eq!([told("scope"), told("subject"), told("period")], [scope, subject, period], "{}", answer.body);
    let amount = |name: &str| nanos(&details[name].to_string());
    assert_eq!(amount("limit"), limit, "{}", answer.body);
    assert!(amount("spent") + amount("reserved") <= limit, "{}", answer.body);
    assert!(message.contains(period) && message.contains(scope), "{message}");
    let after: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=if period == "day" { DAY } else { 31 * DAY }).contains(&after), "{after} s");
}

fn first_refusal(answers: &[Answer]) -> &Answer {
    answers.iter().find(|answer| answer.status == 402).unwrap()
}

#[tokio::test]
async fn a_budget_of_each_scope_and_period_admits_exactly_what_it_holds_and_says_that_it_was_it() {
    let fleet = Fleet::one().await;
    let running = &fleet.running;
    let key = running.keys["agent_key"].as_str().unwrap().split('_').nth(2).unwrap().to_owned();
    let mut spent_by_agent = 0;
    for (scope, subject) in
        [("tenant", ""), ("agent", "saver"), ("key", key.as_str()), ("provider", PROVIDER)]
    {
        for period in ["day", "month"] {
            let spent = if scope == "agent" { spent_by_agent } else { fleet.spent() };
            let limit = spent + 5 * COST;
            let mut budget = Budget::create(running, scope, subject, period, limit).await;
            let name = format!("{scope} {period}");
            let answers = fleet.burst("saver", &name, 12, 12).await;
            Tally::of(&answers).exactly(5, 12);
            assert_used_up(first_refusal(&answers), scope, subject, period, limit);
            // once more the same, by a larger limit
            budget.change(running, limit + 2 * COST).await;
            let answers = fleet.burst("saver", &format!("{name} raised"), 6, 3).await;
            Tally::of(&answers).exactly(2, 6);
            assert_used_up(first_refusal(&answers), scope, subject, period, limit + 2 * COST);
            budget.remove(running).await;
            fleet.tally("saver", &format!("{name} removed"), 3, 3).await.exactly(3, 3);
            spent_by_agent += 10 * COST;
        }
    }
}

#[tokio::test]
async fn of_several_budgets_the_one_with_the_least_left_decides() {
    let fleet = Fleet::one().await;
    let running = &fleet.running;
    let limits = [
        ("agent", "both", "day", 3),
        ("agent", "both", "month", 5),
        ("tenant", "", "month", 100),
        ("provider", PROVIDER, "day", 9),
    ];
    let mut budgets = Vec::new();
    for (scope, subject, period, calls) in limits {
        budgets.push(Budget::create(running, scope, subject, period, calls * COST).await);
    }
    let answers = fleet.burst("both", "by the day", 8, 8).await;
    Tally::of(&answers).exactly(3, 8);
    assert_used_up(first_refusal(&answers), "agent", "both", "day", 3 * COST);
    budgets[0].change(running, 50 * COST).await;
    let answers = fleet.burst("both", "by the month", 8, 8).await;
    Tally::of(&answers).exactly(2, 8);
    assert_used_up(first_refusal(&answers), "agent", "both", "month", 5 * COST);
    // what others spend there counts too; the gateway's first request was one of them
    let answers = fleet.burst("another", "by the provider", 8, 8).await;
    Tally::of(&answers).exactly(3, 8);
    assert_used_up(first_refusal(&answers), "provider", PROVIDER, "day", 9 * COST);
    // the agent's own configuration is one more limit
    budgets.swap_remove(3).remove(running).await;
    fleet.limit("configured", 2 * COST).await;
    let own = Budget::create(running, "agent", "configured", "day", 4 * COST).await;
    let answers = fleet.burst("configured", "its own", 5, 5).await;
    Tally::of(&answers).exactly(2, 5);
    assert_used_up(first_refusal(&answers), "agent", "configured", "day", 2 * COST);
    let state = own.state(running).await.unwrap();
    assert_eq!(
        nanos(&state["budget"]["spent"].to_string()) + nanos(&state["budget"]["reserved"].to_string()),
        2 * COST,
        "{state}"
    );
}

#[tokio::test]
async fn a_limit_of_a_request_holds_for_all_texts_of_it_together_and_waiting_does_not_help() {
    let fleet = Fleet::one().await;
    let (running, client) = (&fleet.running, &fleet.clients[0]);
    let input = |name: &str, texts: usize| -> Value {
        let texts: Vec<String> = (0..texts).map(|n| text(name, n)).collect();
        json!({"model": EVEN, "input": texts, "user": "modest"})
    };
    // texts that nobody knows: one whose limit is not yet in force would leave them in memory, where they cost nothing
    let asked = AtomicUsize::new(0);
    let ask = |texts: usize| {
        let name = format!("asked {}", asked.fetch_add(1, Ordering::Relaxed));
        client.post("/v1/embeddings", input(&name, texts))
    };
    // by the agent's configuration, and by a budget
    let configured = json!({"constraints": {"max_cost_per_request": usd(3 * COST)}});
    let agent = format!("{EMBED}/agents/modest");
    for round in 0..2 {
        let made = if round == 0 {
            running.admin().put(&agent, configured.clone()).await.ok();
            None
        } else {
            running.admin().delete(&agent).await.ok();
            let body = json!({"scope": "tenant", "period": "request", "limit_usd": usd(3 * COST)});
            Some(running.admin().post("/api/v1/admin/budgets", body).await.ok())
        };
        let name = ["configured", "a budget"][round];
        wait_until(|| async { ask(4).await.status == 402 }).await;
        let (calls, before) = (fleet.simulator.calls().len(), fleet.texts_sent());
        let refused = ask(4).await;
        refused.refused(402, "budget_exceeded");
        assert!(refused.headers.get("retry-after").is_none(), "{:?}", refused.headers);
        assert_eq!(fleet.simulator.calls().len(), calls, "{name}: the provider was called");
        // the very limit is not over it, and leases change nothing
        for n in 0..30 {
            let texts: Vec<String> = (0..3).map(|at| text(&format!("{name} {n}"), at)).collect();
            let body = json!({"model": EVEN, "input": texts, "user": "modest"});
            client.post("/v1/embeddings", body).await.ok();
        }
        ask(4).await.refused(402, "budget_exceeded");
        assert_eq!(fleet.texts_sent() - before, 90);
        // what is in memory costs nothing: of four texts three are
        let mut known: Vec<String> = (0..3).map(|at| text(&format!("{name} 0"), at)).collect();
        known.push(text(&format!("{name} fresh"), 0));
        client.post("/v1/embeddings", json!({"model": EVEN, "input": known, "user": "modest"})).await.ok();
        if let Some(made) = made {
            let path = format!("/api/v1/admin/budgets/{}", made["id"].as_str().unwrap());
            running.admin().delete(&path).await.ok();
            wait_until(|| async { ask(4).await.status == 200 }).await;
        }
    }
    client.post(EMBED, one("modest", &text("alone", 0))).await.ok();
}
