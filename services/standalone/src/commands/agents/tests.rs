use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::client::test_server::{Log, json as answering, with_server};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    agents: AgentsArguments,
}

fn parsed(line: &[&str]) -> Command {
    Line::parse_from([&["x"], line].concat()).agents.command
}

async fn said(line: &[&str], body: Value) -> (String, Log) {
    let command = parsed(line);
    let work = async |client, log| (super::answer(&client, &command).await.unwrap(), log);
    with_server(Patience::SHORT, |_, _| answering(200, &body), work).await
}

#[tokio::test]
async fn every_command_asks_its_route_for_what_was_typed() {
    for (line, path, query, body) in [
        (&["list"][..], "", "", Value::Null),
        (
            &["list", "--page-size", "5", "--page-token", "a=b"],
            "",
            "page_size=5&page_token=a%3Db",
            Value::Null,
        ),
        (&["get", "docs"], "/docs", "", Value::Null),
        (&["put", "a:b", r#"{"cache":{"ttl":"1h"}}"#], "/a:b", "", json!({"cache": {"ttl": "1h"}})),
        (
            &["put", "docs", "--clear", "pii", "--clear", "cache.ttl"],
            "/docs",
            "",
            json!({"clear": ["pii", "cache.ttl"]}),
        ),
        (&["put", "docs", "{}", "--if-version", "7"], "/docs", "", json!({"version": 7})),
        (&["history", "docs", "--page-size", "2"], "/docs/history", "page_size=2", Value::Null),
        (&["rollback", "docs"], "/docs/rollback", "", json!({})),
        (
            &["rollback", "docs", "--to", "3", "--if-version", "5"],
            "/docs/rollback",
            "",
            json!({"to_version": 3, "version": 5}),
        ),
        (&["delete", "docs"], "/docs", "", Value::Null),
        (&["models", "docs", "--task-type", "a b"], "/docs/models", "task_type=a%20b", Value::Null),
        (&["explain", "docs"], "/docs/explain", "", json!({})),
        (
            &[
                "explain",
                "docs",
                "--strategy",
                "cost",
                "--model",
                "m",
                "--dimensions",
                "8",
                "--tokens",
                "9",
                "--task-type",
                "t",
            ],
            "/docs/explain",
            "",
            json!({"embedding_strategy": "cost", "model": "m", "dimensions": 8, "token_estimate": 9, "task_type": "t"}),
        ),
    ] {
        let line = [line, &["--json"]].concat();
        let (_, log) = said(&line, json!({})).await;
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 1);
        let asked = (log[0].path.as_str(), log[0].query.as_str(), &log[0].body);
        assert_eq!(asked, (format!("/api/v1/embeddings/agents{path}").as_str(), query, &body), "{line:?}");
    }
}

#[tokio::test]
async fn json_is_passed_on_untouched() {
    let body = json!({"agent_id": "docs", "constraints": {"max_cost_per_day": 0.000000001}});
    let (text, _) = said(&["get", "docs", "--json"], body.clone()).await;
    assert_eq!(text, format!("{body}\n"));
    let (text, _) = said(&["delete", "docs", "--json"], json!({})).await;
    assert_eq!(text, "{}\n");
    let (text, _) = said(&["delete", "docs"], json!({})).await;
    assert!(text.contains("embermesh agents rollback docs"), "{text}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    for line in [
        &["get"][..],
        &["get", "a/b"],
        &["get", "other"],
        &["put", "docs"],
        &["put", "docs", "{}", "--if-version", "x"],
        &["list", "--page-size", "0"],
        &["history", "docs", "--page-size", "1001"],
        &["rollback", "docs", "--to"],
        &["explain", "docs", "--dimensions", "-1"],
    ] {
        assert!(Line::try_parse_from([&["x"], line].concat()).is_err(), "{line:?}");
    }
}

/// The answer to what was done may be lost.
#[tokio::test]
async fn what_must_not_be_done_twice_is_sent_once() {
    for (line, times) in [
        (&["rollback", "docs"][..], 1),
        (&["delete", "docs"], 1),
        (&["rollback", "docs", "--to", "3"], 2),
        (&["put", "docs", "{}"], 2),
    ] {
        let command = parsed(line);
        let answer = |earlier: usize, _: &_| if earlier == 0 { None } else { answering(200, &json!({})) };
        with_server(command.patience(), answer, async |client, log| {
            let failed = super::answer(&client, &command).await.is_err();
            assert_eq!((failed, log.lock().unwrap().len()), (times == 1, times), "{line:?}");
        })
        .await;
    }
}
