use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::client::test_server::{Asked, json as answering, with_server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    migrate: MigrateArguments,
}

fn migration(state: &str, done: u64) -> Value {
    json!({
        "migration_id": "0192d5a0", "agent_id": "docs", "from_space_id": "a@1", "to_space_id": "b@1", "to_model": "b",
        "state": state, "rows_done": done, "rows_failed": 0, "rows_left": 20 - done, "cost_usd": 0.000000001,
        "estimated_cost_usd": 0.02, "budget_usd": 1.5,
    })
}

async fn said(
    line: &[&str],
    answers: impl Fn(usize, &Asked) -> Value,
) -> (String, bool, Vec<(String, Value)>) {
    let line = Line::parse_from([&["x"], line].concat());
    let work = async |client, log| (answer(&client, &line.migrate.command).await.unwrap(), log);
    let ((text, stuck), log) =
        with_server(Patience::SHORT, |n, asked| answering(200, &answers(n, asked)), work).await;
    let asked = log.lock().unwrap().iter().map(|asked| (asked.path.clone(), asked.body.clone())).collect();
    (text, stuck, asked)
}

#[tokio::test]
async fn a_migration_is_started_and_followed_until_it_is_ready() {
    let answers = |n: usize, _: &Asked| match n {
        0 | 1 => migration("running", 0),
        _ => migration("ready", 20),
    };
    let line = [
        "start",
        "--to-model",
        "b",
        "--agent",
        "docs",
        "--budget",
        "1.50",
        "--min-overlap",
        "0.25",
        "--wait",
    ];
    let (text, stuck, asked) = said(&line, answers).await;
    assert!(!stuck && text.contains("state      ready\n"), "{text}");
    assert!(text.contains("rows       20 of 20 done, 0 failed\n"), "{text}");
    assert!(text.contains("0.02 estimated, 1.5 at most\n"), "{text}");
    assert_eq!(asked[0].0, PATH);
    let body = json!({"to_model": "b", "agent_id": "docs", "budget_usd": 1.5, "min_overlap": 0.25});
    assert_eq!(asked[0].1, body);
    assert!(asked[1..].iter().all(|(path, _)| path == "/api/v1/migrations/0192d5a0") && asked.len() == 3);
}

#[tokio::test]
async fn one_that_pauses_is_told_as_stuck() {
    let paused = |_: usize, _: &Asked| {
        let mut paused = migration("paused", 7);
        paused["reason"] = json!("budget_reached");
        paused["message"] = json!("resume with a larger one");
        paused
    };
    let (text, stuck, _) = said(&["watch", "0192d5a0"], paused).await;
    assert!(stuck && text.contains("because    budget_reached resume with a larger one\n"), "{text}");
    let (text, stuck, asked) =
        said(&["resume", "0192d5a0", "--budget", "2"], |_, _| migration("running", 7)).await;
    assert!(!stuck && text.contains("state      running\n"), "{text}");
    assert_eq!(asked[0], ("/api/v1/migrations/0192d5a0/resume".to_owned(), json!({"budget_usd": 2})));
}

#[tokio::test]
async fn what_ends_a_migration_is_waited_for() {
    let answers = |n: usize, _: &Asked| match n {
        0 => migration("cutting_over", 20),
        1 => migration("ready", 20),
        _ => migration("cut_over", 20),
    };
    let (text, stuck, asked) = said(&["cut-over", "0192d5a0", "--force"], answers).await;
    assert!(!stuck && text.contains("state      cut_over\n") && asked.len() == 3, "{text}");
    assert_eq!(asked[0], ("/api/v1/migrations/0192d5a0/cut-over".to_owned(), json!({"force": true})));
    let (text, _, asked) =
        said(&["roll-back", "0192d5a0", "--no-wait", "--json"], |_, _| migration("rolling_back", 20)).await;
    assert_eq!((text.trim_end(), asked.len()), (migration("rolling_back", 20).to_string().as_str(), 1));
}

#[tokio::test]
async fn an_estimate_and_failures_are_for_people() {
    let estimate = json!({
        "from_space_id": "a@1", "to_space_id": "b@1", "to_model": "b", "rows": 20_000, "rows_there": 3, "tokens": 400_000,
        "tokens_basis": "stored", "per_million_tokens_usd": 0.13, "cost_usd": 0.052, "hours": 0.525,
        "disk_bytes": 50_000_000, "index_bytes": 0,
    });
    let (text, ..) = said(&["estimate", "--to-model", "b"], move |_, _| estimate.clone()).await;
    assert!(text.contains("cost       0.052 USD\n") && text.contains("time       31 min 30 s\n"), "{text}");
    assert!(text.contains("disk       47.7 MiB and 0 KiB of indexes\n"), "{text}");
    let failures =
        json!({"failures": [{"embedding_id": "e", "code": "input_too_long", "message": "9000 tokens"}]});
    let (text, ..) = said(&["failures", "0192d5a0"], move |_, _| failures.clone()).await;
    assert_eq!(text, "embedding  code            why\ne          input_too_long  9000 tokens\n");
    let (text, ..) = said(&["list"], |_, _| json!({"migrations": [migration("running", 7)]})).await;
    assert!(
        text.lines().nth(1).unwrap().starts_with("0192d5a0   docs   a@1   b@1  running     7    13  1e-9"),
        "{text}"
    );
}

#[test]
fn bad_values_are_refused_before_anything_is_sent() {
    for line in [
        &["start"][..],
        &["start", "--to-model", "b", "--budget", "-1"],
        &["start", "--to-model", "b", "--min-overlap", "1.1"],
        &["start", "--to-model", "b", "--requests-per-minute", "0"],
        &["show", "../keys"],
        &["cut-over"],
    ] {
        assert!(Line::try_parse_from([&["x"], line].concat()).is_err(), "{line:?}");
    }
}
