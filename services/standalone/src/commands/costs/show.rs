//! The answers for people.

use std::fmt::Write;

use embermesh_types::NanoUsd;

use super::answers::{BooksVerified, Budget, BudgetStates, CostReport, CostsByAgent, Usd};
use crate::commands::{output::printable, quotas::quotas, table::table};

/// The server lists no more than this.
const MOST_DIFFERENCES: usize = 1000;

/// The sum, then a row each.
pub(super) fn report(report: &CostReport) -> String {
    let (cost, saved) = (report.total_cost_usd.0, report.saved_usd.0);
    let (from, to) = (printable(&report.from), printable(&report.to));
    let sum = format!("{cost} USD from {from} to {to}, {saved} USD saved by the cache\n");
    if report.rows.is_empty() {
        return sum;
    }
    let group_by = printable(&report.group_by);
    let header = [group_by.as_str(), "USD", "requests", "tokens", "cached"];
    let rows = report.rows.iter().map(|row| {
        let counts = [row.request_count, row.tokens_used, row.cached_count].map(|count| count.to_string());
        [row.key.clone(), usd(row.cost_usd)].into_iter().chain(counts).collect()
    });
    sum + "\n" + &table(1, &header, &rows.collect::<Vec<_>>())
}

/// Dearest first, with what is left of the day's budget.
pub(super) fn by_agent(costs: &CostsByAgent) -> String {
    if costs.agents.is_empty() {
        return "nothing was spent in the last 24 hours\n".to_owned();
    }
    let rows = costs.agents.iter().map(|agent| {
        let budget = agent.budget.as_ref();
        let limit = budget.and_then(|budget| budget.limit);
        vec![
            agent.agent_id.clone(),
            usd(agent.total_cost),
            agent.request_count.to_string(),
            limit.map_or_else(|| "-".to_owned(), usd),
            budget.zip(limit).map_or_else(|| "-".to_owned(), |(budget, limit)| left(budget, limit)),
        ]
    });
    let header = ["agent", "USD in 24 h", "requests", "limit of the day", "left of it"];
    table(1, &header, &rows.collect::<Vec<_>>())
}

/// Fullest first.
pub(super) fn budgets(states: &BudgetStates) -> String {
    let quotas = quotas(&states.quotas);
    if states.budgets.is_empty() {
        return if quotas.is_empty() { "no budget limits a day or a month\n".to_owned() } else { quotas };
    }
    let rows = states.budgets.iter().map(|state| {
        let budget = &state.budget;
        let told: Vec<String> = state.alerts.iter().map(|alert| format!("{} %", alert.percent)).collect();
        let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        vec![
            state.scope.clone(),
            or_dash(Some(&state.subject)),
            state.period.clone(),
            state.utilization.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0)),
            budget.limit.map_or_else(|| "-".to_owned(), usd),
            usd(budget.spent),
            usd(budget.reserved),
            usd(budget.presumed),
            or_dash(budget.resets_at.as_deref()),
            or_dash(budget.forecast_reached_at.as_deref()),
            or_dash(Some(&told.join(", "))),
        ]
    });
    let header = [
        "scope",
        "subject",
        "period",
        "used",
        "limit",
        "spent",
        "reserved",
        "presumed",
        "resets at",
        "reached at",
        "told",
    ];
    let budgets = table(3, &header, &rows.collect::<Vec<_>>());
    if quotas.is_empty() { budgets } else { format!("{budgets}\n{quotas}") }
}

/// What was looked at, and what does not agree.
pub(super) fn verified(verified: &BooksVerified) -> String {
    let BooksVerified { attempts, charges, balances, leases, differences } = verified;
    let found = match differences.len() {
        0 => "the books balance".to_owned(),
        1 => "1 difference".to_owned(),
        MOST_DIFFERENCES => format!("{MOST_DIFFERENCES} differences or more"),
        several => format!("{several} differences"),
    };
    let mut text =
        format!("{found}: {attempts} attempts, {charges} charges, {balances} balances, {leases} leases\n");
    if !differences.is_empty() {
        let rows = differences
            .iter()
            .map(|one| [&one.what, &one.subject, &one.recorded, &one.recomputed].map(String::clone).to_vec());
        let header = ["what", "of", "recorded", "recomputed"];
        // writing to a string cannot fail
        let _ = write!(text, "\n{}", table(2, &header, &rows.collect::<Vec<_>>()));
    }
    text
}

/// All nine places, so that the points stand below each other.
fn usd(Usd(NanoUsd(nanos)): Usd) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn left(budget: &Budget, limit: Usd) -> String {
    let used = [budget.spent, budget.reserved, budget.presumed].into_iter().map(|part| part.0.0);
    let left = used.fold(limit.0.0, i64::saturating_sub).max(0);
    usd(Usd(NanoUsd(left)))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    /// Through text, as it comes: a `Value` would make floats of the money.
    fn read<T: DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_report_lines_up_and_is_exact() {
        let answer = r#"{"from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z", "group_by": "agent",
            "total_cost_usd": 9007199.254740994, "saved_usd": 0.00000002, "rows": [
            {"key": "docs", "cost_usd": 9007199.254740993, "request_count": 12, "tokens_used": 34567, "cached_count": 8},
            {"key": "a\u001b[31mb", "cost_usd": 0.000000001, "request_count": 1, "tokens_used": 1, "cached_count": 0}]}"#;
        insta::assert_snapshot!(report(&read(answer)), @r"
        9007199.254740994 USD from 2026-11-21T00:00:00Z to 2026-11-22T00:00:00Z, 0.00000002 USD saved by the cache

        agent                 USD  requests  tokens  cached
        docs    9007199.254740993        12   34567       8
        a[31mb        0.000000001         1       1       0
        ");
    }

    #[test]
    fn agents_show_what_is_left_of_their_day() {
        let answer = r#"{"period": {}, "agents": [
            {"agent_id": "docs", "total_cost": 0.5, "request_count": 3,
             "budget": {"limit": 1, "spent": 0.25, "reserved": 0.125, "presumed": 0.5, "resets_at": "2026-11-23T00:00:00Z"}},
            {"agent_id": "free", "total_cost": 0, "request_count": 1, "budget": {"limit": null, "spent": 0}},
            {"agent_id": "unknown", "total_cost": 0, "request_count": 1, "budget": null}]}"#;
        insta::assert_snapshot!(by_agent(&read(answer)), @r"
        agent    USD in 24 h  requests  limit of the day   left of it
        docs     0.500000000         3       1.000000000  0.125000000
        free     0.000000000         1                 -            -
        unknown  0.000000000         1                 -            -
        ");
        assert_eq!(by_agent(&read(r#"{"agents": []}"#)), "nothing was spent in the last 24 hours\n");
    }

    #[test]
    fn budgets_show_how_full_they_are_and_when_they_will_be_used_up() {
        let answer = r#"{"budgets": [
            {"scope": "tenant", "subject": "", "period": "month", "utilization": 0.8125,
             "budget": {"limit": 100, "spent": 81, "reserved": 0.25, "presumed": 0, "resets_at": "2026-12-01T00:00:00Z",
                        "forecast_reached_at": "2026-11-27T09:30:00Z"},
             "alerts": [{"percent": 50}, {"percent": 80}]},
            {"scope": "agent", "subject": "docs", "period": "day", "utilization": null,
             "budget": {"limit": 0, "spent": 0, "reserved": 0, "presumed": 0, "resets_at": "2026-11-23T00:00:00Z"}}]}"#;
        insta::assert_snapshot!(budgets(&read(answer)));
        assert_eq!(budgets(&read(r#"{"budgets": []}"#)), "no budget limits a day or a month\n");
        let quotas = r#"{"budgets": [], "quotas": [
            {"quota": "requests", "period": "day", "limit": 1000, "used": 250, "reserved": 10, "presumed": 0,
             "utilization": 0.26, "resets_at": "2026-11-23T00:00:00Z"},
            {"quota": "tokens", "period": "month", "limit": 0, "used": 0, "reserved": 0, "presumed": 0,
             "resets_at": "2026-12-01T00:00:00Z"}]}"#;
        insta::assert_snapshot!(budgets(&read(quotas)), @r"
        quota     period   share  limit  used  reserved  presumed             resets at
        requests  day     26.0 %   1000   250        10         0  2026-11-23T00:00:00Z
        tokens    month        -      0     0         0         0  2026-12-01T00:00:00Z
        ");
    }

    #[test]
    fn differences_are_listed_below_what_was_looked_at() {
        let mut answer: Value = serde_json::json!({"attempts": 5, "charges": 6, "balances": 8, "leases": 1,
            "differences": [{"what": "balance.spent", "subject": "agent docs day 2026-11-22", "recorded": "5", "recomputed": "17"}]});
        insta::assert_snapshot!(verified(&read(&answer.to_string())), @r"
        1 difference: 5 attempts, 6 charges, 8 balances, 1 leases

        what           of                         recorded  recomputed
        balance.spent  agent docs day 2026-11-22         5          17
        ");
        answer["differences"] = serde_json::json!([]);
        assert_eq!(
            verified(&read(&answer.to_string())),
            "the books balance: 5 attempts, 6 charges, 8 balances, 1 leases\n"
        );
    }
}
