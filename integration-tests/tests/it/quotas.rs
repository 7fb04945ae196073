//! What a tenant may ask for by day and month holds over routers, restarts and crashes, to the request and to the token.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::Answer,
    money::fleet::{EMBED, Fleet, one, text},
    running::wait_until,
    simulated::in_force,
};

const DAY: u64 = 86_400;

/// Sets the quotas of the first tenant, on every router and the ledger.
async fn allow(fleet: &Fleet, quotas: Value) {
    let path = format!("/api/v1/admin/tenants/{}", fleet.running.keys["tenant_id"].as_str().unwrap());
    let changed = fleet.running.admin().put(&path, json!({"quotas": quotas})).await.ok();
    for (name, limit) in quotas.as_object().unwrap() {
        assert_eq!(changed["quotas"][name], *limit, "{changed}");
        let limit = limit.as_u64().unwrap();
        wait_until(|| async { state(fleet, name).await.is_some_and(|state| state["limit"] == limit) }).await;
    }
    in_force().await;
}

/// How a quota such as `requests_per_day` stands.
async fn state(fleet: &Fleet, name: &str) -> Option<Value> {
    let reported = fleet.running.admin().get("/api/v1/reports/budgets").await.ok();
    let (quota, period) = name.split_once("_per_").unwrap();
    let states = reported["quotas"].as_array().unwrap().clone();
    states.into_iter().find(|state| state["quota"] == quota && state["period"] == period)
}

async fn used(fleet: &Fleet, name: &str) -> u64 {
    state(fleet, name).await.unwrap()["used"].as_u64().unwrap()
}

/// How many were answered; every other one was refused for the quota, and says which it was and when it ends.
#[track_caller]
fn admitted(answers: &[Answer], quota: &str, period: &str) -> usize {
    let (answered, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in refused {
        let message = answer.refused(429, "quota_exceeded").to_owned();
        assert!(message.contains(quota) && message.contains(period), "{message}");
        let error = &answer.body["error"];
        assert_eq!(
            (&error["details"]["quota"], &error["details"]["period"]),
            (&json!(quota), &json!(period))
        );
        assert_eq!(error["type"], "insufficient_quota");
        assert!(error["details"]["resets_at"].is_string(), "{error}");
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=if period == "day" { DAY } else { 31 * DAY }).contains(&after), "{after} s");
    }
    answered.len()
}

#[tokio::test]
async fn two_routers_admit_exactly_the_requests_of_a_quota_cached_or_not() {
    let fleet = Fleet::of(2).await;
    // so small that nothing is leased, and one that routers hold slices of
    for (k, asked, at_once) in [(40, 120, 30), (700, 900, 24)] {
        let limit = k + used_or_none(&fleet).await;
        allow(&fleet, json!({"requests_per_day": limit, "requests_per_month": 1_000_000})).await;
        let before = fleet.texts_sent();
        let answers = fleet.burst("asker", &format!("of {k}"), asked, at_once).await;
        assert_eq!(admitted(&answers, "requests", "day"), usize::try_from(k).unwrap());
        assert_eq!(fleet.texts_sent() - before, usize::try_from(k).unwrap());
        wait_until(|| async { used(&fleet, "requests_per_day").await == limit }).await;
    }
    // an answer out of the cache is an answer
    let limit = used(&fleet, "requests_per_day").await + 5;
    allow(&fleet, json!({"requests_per_day": limit})).await;
    let cached = || fleet.clients[0].post(EMBED, one("asker", &text("of 40", 0)));
    let answers = join_all((0..12).map(|_| cached())).await;
    assert_eq!(admitted(&answers, "requests", "day"), 5);
    // one that nobody could answer does not count
    let limit = limit + 2;
    allow(&fleet, json!({"requests_per_day": limit})).await;
    for _ in 0..5 {
        let answer = fleet.clients[0]
            .post(EMBED, json!({"agent_id": "asker", "text": "x", "model": "nobody's"}))
            .await;
        assert!((400..500).contains(&answer.status) && answer.status != 429, "{}", answer.body);
    }
    assert_eq!(admitted(&join_all((0..6).map(|_| cached())).await, "requests", "day"), 2);
    let verified = fleet.running.admin().post("/api/v1/reports/costs/verify", json!({})).await.ok();
    assert_eq!(verified["differences"], json!([]));
}

async fn used_or_none(fleet: &Fleet) -> u64 {
    let state = state(fleet, "requests_per_day").await;
    state.map_or(0, |state| state["used"].as_u64().unwrap())
}

#[tokio::test]
async fn tokens_are_those_that_providers_were_sent_and_never_more_than_the_quota() {
    let fleet = Fleet::of(2).await;
    allow(&fleet, json!({"tokens_per_day": 4_000})).await;
    let mut answers = fleet.burst("asker", "at once", 500, 24).await;
    // what was set aside and not used is free again, as soon as the ledger has heard of it
    let tokens = |answer: &Answer| answer.body["tokens_used"].as_u64();
    let (mut n, mut all_told) = (0, false);
    loop {
        let answer = fleet.clients[n % 2].post(EMBED, one("asker", &text("then", n))).await;
        let refused = answer.status != 200;
        answers.push(answer);
        if refused && all_told {
            break;
        }
        all_told = refused;
        if refused {
            let sum: u64 = answers.iter().filter_map(tokens).sum();
            wait_until(|| async { used(&fleet, "tokens_per_day").await == sum }).await;
        }
        n += 1;
        assert!(n < 500, "nobody is refused");
    }
    let count = admitted(&answers, "tokens", "day");
    let sum: u64 = answers.iter().filter_map(tokens).sum();
    let most = answers.iter().filter_map(tokens).max().unwrap();
    wait_until(|| async { used(&fleet, "tokens_per_day").await == sum }).await;
    let sent: u64 =
        fleet.simulator.calls().iter().filter(|call| call.status == Some(200)).map(|call| call.tokens).sum();
    println!(
        "{count} of {} requests, {sum} of 4000 tokens, at most {most} each, {sent} sent in all",
        answers.len()
    );
    assert!(sum <= 4_000 && 4_000 - sum < 2 * most, "{sum} tokens, at most {most} each");
    // out of the cache there are none
    for answer in
        join_all((0..5).map(|_| fleet.clients[0].post(EMBED, one("asker", &text("known", 0))))).await
    {
        assert_eq!(answer.ok()["cached"], true);
    }
    assert_eq!(used(&fleet, "tokens_per_day").await, sum);
}

#[tokio::test]
async fn a_quota_outlives_routers_that_are_killed_and_a_ledger_that_starts_again() {
    let mut fleet = Fleet::of(2).await;
    allow(&fleet, json!({"requests_per_day": 300})).await;
    let mut count = admitted(&fleet.burst("asker", "before", 120, 12).await, "requests", "day");
    assert_eq!(count, 120);
    fleet.running.start_again("cost-ledger").await;
    // kills it first
    fleet.running.start_again("provider-router").await;
    for (n, client) in fleet.clients.iter().enumerate() {
        // until it has reached everything behind it, and the ledger for more than one lease
        let mut answered = 0;
        while answered < 20 {
            let answer = client.post(EMBED, one("asker", &text("is it there", n))).await;
            answered += usize::from(answer.status == 200);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        count += answered;
    }
    count += admitted(&fleet.burst("asker", "after", 250, 12).await, "requests", "day");
    assert_eq!(count, 300);
    wait_until(|| async { used(&fleet, "requests_per_day").await == 300 }).await;
}
