//! The answers for people.

use std::fmt::Write;

use embermesh_types::AgentId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::Fields;
use crate::commands::{output::printable, table::table};

/// Of a configuration, what is no setting.
const ABOUT: [&str; 4] = ["agent_id", "version", "created_at", "updated_at"];

#[derive(Deserialize)]
pub(super) struct Agents {
    agents: Vec<Fields>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct History {
    versions: Vec<Version>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    version: i64,
    deleted: bool,
    agent: Option<Fields>,
    changed_by: String,
    changed_at: String,
}

#[derive(Deserialize)]
pub(super) struct Explanation {
    task_type: String,
    embedding_strategy: String,
    pinned_space_id: Option<String>,
    chosen: Option<String>,
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    name: String,
    role: String,
    status: String,
    reason: String,
    score: f64,
    circuit_breaker_state: Option<String>,
    cost_usd: Option<Box<RawValue>>,
}

/// A line for each agent.
pub(super) fn agents(list: &Agents) -> String {
    if list.agents.is_empty() {
        return "no agent has a configuration of its own\n".to_owned();
    }
    let rows = list.agents.iter().map(|agent| {
        let set = agent.set();
        let of = |wanted: &str| set.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let columns = [
            "agent_id",
            "embedding_strategy",
            "pii.action",
            "updated_at",
            "version",
            "constraints.max_cost_per_day",
        ];
        columns.map(|name| or_dash(of(name))).to_vec()
    });
    let header = ["agent", "strategy", "pii", "changed at", "version", "USD a day"];
    table(4, &header, &rows.collect::<Vec<_>>()) + &more(list.next_page_token.as_deref())
}

/// A line for each field that is set.
pub(super) fn fields(fields: &Fields) -> String {
    let rows: Vec<_> = fields.set().into_iter().map(|(name, value)| vec![name, value]).collect();
    table(2, &["field", "value"], &rows)
}

/// A line for each version, with what it changed.
pub(super) fn history(history: &History) -> String {
    let versions = &history.versions;
    if versions.is_empty() {
        return "the agent never had a configuration of its own\n".to_owned();
    }
    let rows = versions.iter().enumerate().map(|(at, one)| {
        let changed = match versions.get(at + 1) {
            _ if one.deleted => "deleted".to_owned(),
            // what was before is on the next page
            None if history.next_page_token.is_some() => "...".to_owned(),
            before => changed(before, one),
        };
        vec![one.version.to_string(), one.changed_at.clone(), one.changed_by.clone(), changed]
    });
    let header = ["version", "changed at", "by key", "changed"];
    table(4, &header, &rows.collect::<Vec<_>>()) + &more(history.next_page_token.as_deref())
}

fn changed(before: Option<&Version>, after: &Version) -> String {
    let settings = |version: &Version| {
        let mut set = version.agent.as_ref().map(Fields::set).unwrap_or_default();
        set.retain(|(name, _)| !ABOUT.contains(&name.as_str()));
        set
    };
    let (before, after) = (before.map(settings).unwrap_or_default(), settings(after));
    let mut names: Vec<&str> = before
        .iter()
        .filter(|field| !after.contains(field))
        .chain(after.iter().filter(|field| !before.contains(field)))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "nothing is set otherwise".to_owned() } else { names.join(", ") }
}

/// Which candidate would be called, and all of them.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let Explanation { task_type, embedding_strategy, pinned_space_id, chosen, candidates } = explanation;
    let chosen = chosen.as_deref().map_or_else(|| "none can be called".to_owned(), printable);
    let pinned = pinned_space_id.as_deref().map_or_else(|| "no space yet".to_owned(), printable);
    let mut text = format!(
        "chosen: {chosen}; strategy {}, task type {}, pinned to {pinned}\n",
        printable(embedding_strategy),
        printable(task_type)
    );
    if !candidates.is_empty() {
        let rows = candidates.iter().map(|one| {
            vec![
                one.name.clone(),
                one.role.clone(),
                one.status.clone(),
                or_dash(one.circuit_breaker_state.as_deref()),
                format!("{:.3}", one.score),
                or_dash(one.cost_usd.as_deref().map(RawValue::get)),
                or_dash(Some(&one.reason)),
            ]
        });
        let header = ["candidate", "role", "status", "breaker", "score", "USD", "why"];
        // writing to a string cannot fail
        let _ = write!(text, "\n{}", table(7, &header, &rows.collect::<Vec<_>>()));
    }
    text
}

/// What a deletion came to.
pub(super) fn deleted(agent: &AgentId) -> String {
    format!(
        "{agent} has no configuration of its own any more; `embermesh agents rollback {agent}` brings it back\n"
    )
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

fn more(token: Option<&str>) -> String {
    token.map_or_else(String::new, |token| format!("\nmore: --page-token {}\n", printable(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = r#"{"agent_id": "docs", "embedding_strategy": "cost", "model_preferences": [
            {"task_type": "general_qa", "primary_models": ["small", "large"], "fallback_models": ["ada"]},
            {"task_type": "research", "primary_models": ["large"], "fallback_models": []}],
        "constraints": {"max_cost_per_day": 9007199.254740993, "max_cost_per_month": null,
            "rate_limits": {"requests_per_minute": 60, "tokens_per_minute": null}},
        "fallback_behavior": null, "cache": {"enabled": false, "ttl": "15m"}, "pii": {"action": "redact", "entities": ["email", "ssn"]},
        "metadata": {"team": "a\u001b[31mb"}, "version": 3,
        "created_at": "2026-11-21T00:00:00Z", "updated_at": "2026-11-22T12:00:00Z"}"#;

    #[test]
    fn a_configuration_shows_what_is_set_exactly() {
        insta::assert_snapshot!(fields(&serde_json::from_str(DOCS).unwrap()), @r#"
        field                                        value
        agent_id                                     docs
        embedding_strategy                           cost
        model_preferences.general_qa                 small, large; then ada
        model_preferences.research                   large
        constraints.max_cost_per_day                 9007199.254740993
        constraints.rate_limits.requests_per_minute  60
        cache.enabled                                false
        cache.ttl                                    15m
        pii.action                                   redact
        pii.entities                                 email, ssn
        metadata                                     {"team": "a\u001b[31mb"}
        version                                      3
        created_at                                   2026-11-21T00:00:00Z
        updated_at                                   2026-11-22T12:00:00Z
        "#);
    }

    #[test]
    fn a_list_has_a_line_for_each_agent_and_says_that_there_is_more() {
        let answer = format!(
            r#"{{"agents": [{DOCS}, {{"agent_id": "bare", "version": 1, "updated_at": "2026-11-22T12:00:00Z"}}], "next_page_token": "abc"}}"#
        );
        insta::assert_snapshot!(agents(&serde_json::from_str(&answer).unwrap()), @r"
        agent  strategy  pii     changed at            version          USD a day
        docs   cost      redact  2026-11-22T12:00:00Z        3  9007199.254740993
        bare   -         -       2026-11-22T12:00:00Z        1                  -

        more: --page-token abc
        ");
        let none = serde_json::from_str(r#"{"agents": [], "next_page_token": null}"#).unwrap();
        assert_eq!(agents(&none), "no agent has a configuration of its own\n");
    }

    #[test]
    fn a_history_tells_what_each_version_changed() {
        let version = |number: i64, agent: &str| {
            format!(
                r#"{{"version": {number}, "deleted": {}, "agent": {agent}, "changed_by": "k{number}", "changed_at": "2026-11-22T12:00:0{number}Z"}}"#,
                agent == "null"
            )
        };
        let bare = r#"{"agent_id": "docs", "version": 2, "cache": {"enabled": false, "ttl": "1h"}}"#;
        let versions = [version(4, bare), version(3, "null"), version(2, bare), version(1, DOCS)].join(",");
        let whole = format!(r#"{{"versions": [{versions}], "next_page_token": null}}"#);
        insta::assert_snapshot!(history(&serde_json::from_str(&whole).unwrap()), @r"
        version  changed at            by key  changed
        4        2026-11-22T12:00:04Z  k4      cache.enabled, cache.ttl
        3        2026-11-22T12:00:03Z  k3      deleted
        2        2026-11-22T12:00:02Z  k2      cache.ttl, constraints.max_cost_per_day, constraints.rate_limits.requests_per_minute, embedding_strategy, metadata, model_preferences.general_qa, model_preferences.research, pii.action, pii.entities
        1        2026-11-22T12:00:01Z  k1      cache.enabled, cache.ttl, constraints.max_cost_per_day, constraints.rate_limits.requests_per_minute, embedding_strategy, metadata, model_preferences.general_qa, model_preferences.research, pii.action, pii.entities
        ");
        let part = format!(r#"{{"versions": [{}], "next_page_token": "abc"}}"#, version(2, bare));
        insta::assert_snapshot!(history(&serde_json::from_str(&part).unwrap()), @r"
        version  changed at            by key  changed
        2        2026-11-22T12:00:02Z  k2      ...

        more: --page-token abc
        ");
    }

    #[test]
    fn an_explanation_lists_the_candidates_below_the_choice() {
        let answer = r#"{"agent_id": "docs", "task_type": "general_qa", "embedding_strategy": "balanced", "weights": {},
            "pinned_space_id": "openai/small@1536", "chosen": "azure/small", "candidates": [
            {"name": "azure/small", "role": "pinned", "status": "chosen", "reason": "the best score", "score": 0.87654,
             "circuit_breaker_state": "closed", "cost_usd": 0.00002, "parts": {}, "measured": {}},
            {"name": "large", "role": "fallback", "status": "excluded", "reason": "no configured provider serves the model",
             "score": 0, "circuit_breaker_state": null, "cost_usd": null}]}"#;
        insta::assert_snapshot!(explanation(&serde_json::from_str(answer).unwrap()), @r"
        chosen: azure/small; strategy balanced, task type general_qa, pinned to openai/small@1536

        candidate    role      status    breaker  score  USD      why
        azure/small  pinned    chosen    closed   0.877  0.00002  the best score
        large        fallback  excluded  -        0.000  -        no configured provider serves the model
        ");
        let none = r#"{"task_type": "x", "embedding_strategy": "cost", "candidates": []}"#;
        assert_eq!(
            explanation(&serde_json::from_str(none).unwrap()),
            "chosen: none can be called; strategy cost, task type x, pinned to no space yet\n"
        );
    }
}
