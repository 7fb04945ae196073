//! Batches against a real server that stores, refuses and stumbles as told.

use std::{cell::RefCell, collections::HashSet, time::Duration};

use clap::Parser;
use futures::stream;
use serde_json::{Value, json};

use super::*;
use crate::client::{
    Patience,
    test_server::{Asked, json, with_server},
};

const QUICK: Patience = Patience {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(1),
    total: Duration::from_millis(4),
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    embed: EmbedArguments,
}

fn piece(body: &str) -> Piece {
    Piece {
        source: "a.md".into(),
        heading: "H".into(),
        context: "H".into(),
        body: body.into(),
        chunk: Some(1),
    }
}

fn texts(asked: &Asked) -> Vec<String> {
    let entries = asked.body.as_array().unwrap().iter();
    entries.map(|entry| entry["text"].as_str().unwrap().trim_start_matches("H\n\n").to_owned()).collect()
}

fn refusal(code: &str, param: &str) -> Value {
    json!({"error": {"code": code, "message": "no", "param": param, "request_id": "r"}})
}

fn answer(entries: &[Value]) -> Value {
    let failed = entries.iter().filter(|entry| entry.get("error").is_some()).count();
    json!({"embeddings": entries, "count": entries.len(), "failed": failed, "total_cost_usd": 0.000000003, "total_tokens": 5})
}

/// Ingests against a server that answers each text by `entry`, which also gets the number of earlier requests.
async fn ingest(
    bodies: &[&str],
    entry: impl Fn(usize, &str) -> Value,
) -> (Value, Option<Failure>, Vec<Vec<String>>) {
    let serve = |earlier: usize, asked: &Asked| {
        let entries: Vec<Value> = texts(asked).iter().map(|text| entry(earlier, text)).collect();
        json(200, &answer(&entries))
    };
    with_server(QUICK, serve, async |client, log| {
        let line = Line::parse_from(["x", "--agent", "docs", "--from", "a.md", "--concurrency", "1"]);
        let tally = Tally::of_files(1, 0, bodies.len());
        let progress = Progress::of(bodies.len());
        let ingest = Ingest::new(&client, &line.embed, tally, &progress);
        let (tally, stopped) = ingest.run(stream::iter(bodies.iter().map(|body| Ok(piece(body))))).await;
        let summary = super::super::Summary { tally, stopped: None, elapsed: Duration::ZERO };
        let sent = log.lock().unwrap().iter().map(texts).collect();
        (serde_json::from_str(&summary.json()).unwrap(), stopped, sent)
    })
    .await
}

fn counts(summary: &Value) -> [u64; 4] {
    ["stored", "already_there", "refused", "not_sent"].map(|name| summary[name].as_u64().unwrap())
}

#[tokio::test]
async fn texts_go_in_batches_with_what_is_known_of_them() {
    let bodies: Vec<String> = (0..70).map(|n| format!("text {n}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let (summary, stopped, sent) = ingest(&bodies, |_, _| json!({"deduplicated": false})).await;
    assert!(stopped.is_none());
    assert_eq!(counts(&summary), [70, 0, 0, 0]);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 6]);
    assert_eq!(sent.concat(), bodies);
    assert_eq!((&summary["tokens"], summary["cost_usd"].to_string()), (&json!(15), "9e-9".to_owned()));
}

#[tokio::test]
async fn an_entry_carries_agent_and_metadata_and_wants_no_vector() {
    let serve = |_: usize, _: &Asked| json(200, &answer(&[json!({})]));
    with_server(QUICK, serve, async |client, log| {
        let line = Line::parse_from(["x", "--agent", "docs", "--task-type", "research", "--context", "c", "--model", "m"]);
        let progress = Progress::open_ended();
        let ingest = Ingest::new(&client, &line.embed, Tally::default(), &progress);
        ingest.run(stream::iter([Ok(piece("body"))])).await;
        let expected = json!([{"agent_id": "docs", "text": "H\n\nbody", "model": "m", "task_type": "research", "context_id": "c",
            "metadata": {"source": "a.md", "heading": "H", "chunk": 1}, "return_vector": false}]);
        assert_eq!(log.lock().unwrap()[0].body, expected);
    })
    .await;
}

#[tokio::test]
async fn too_long_a_text_is_halved_until_it_fits() {
    let fits = |_: usize, text: &str| match text.len() {
        0..=9 => json!({"deduplicated": false}),
        _ => refusal("input_too_long", "text"),
    };
    let (summary, stopped, sent) = ingest(&["one two. three four. five six", "short"], fits).await;
    assert!(stopped.is_none());
    assert_eq!(
        (counts(&summary), &summary["halved"]),
        ([summary["chunks"].as_u64().unwrap(), 0, 0, 0], &json!(3))
    );
    let taken: HashSet<&str> =
        sent.iter().flatten().map(String::as_str).filter(|text| text.len() <= 9).collect();
    assert_eq!(taken, HashSet::from(["one two.", "three", "four.", "five six", "short"]));
}

#[tokio::test]
async fn a_text_that_cannot_be_halved_is_refused() {
    let (summary, _, sent) = ingest(&["x"], |_, _| refusal("input_too_long", "text")).await;
    assert_eq!((counts(&summary), sent.len()), ([0, 0, 1, 0], 1));
}

#[tokio::test]
async fn only_what_may_pass_is_sent_again() {
    let stumble = |earlier: usize, text: &str| match (earlier, text) {
        (0, "a") => refusal("unavailable", ""),
        (0, "b") => refusal("pii_rejected", "text"),
        (_, "c") => json!({"deduplicated": true}),
        _ => json!({"deduplicated": false}),
    };
    let (summary, stopped, sent) = ingest(&["a", "b", "c", "d"], stumble).await;
    assert!(stopped.is_none());
    assert_eq!(counts(&summary), [2, 1, 1, 0]);
    assert_eq!(sent, [vec!["a", "b", "c", "d"], vec!["a"]]);
    assert_eq!(summary["first_refused"][0]["place"], "a.md chunk 1");
}

#[tokio::test]
async fn what_never_passes_ends_the_run_and_keeps_what_was_stored() {
    let down = |_: usize, text: &str| if text == "a" { json!({}) } else { refusal("unavailable", "") };
    let (summary, stopped, sent) = ingest(&["a", "b"], down).await;
    assert_eq!(counts(&summary), [1, 0, 0, 1]);
    assert_eq!(sent.len(), 5);
    assert_eq!(stopped.unwrap().exit_code(), std::process::ExitCode::from(4));
}

#[tokio::test]
async fn what_holds_for_every_text_ends_the_run() {
    let bodies = ["t"; 40];
    for (code, param) in
        [("budget_exceeded", ""), ("quota_exceeded", ""), ("not_found", "model"), ("forbidden", "agent_id")]
    {
        let (summary, stopped, sent) = ingest(&bodies, |_, _| refusal(code, param)).await;
        assert_eq!((counts(&summary), sent.len()), ([0, 0, 0, 40], 1), "{code}");
        assert!(stopped.is_some());
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_divided() {
    let largest = RefCell::new(0);
    let serve = |_: usize, asked: &Asked| {
        let count = texts(asked).len();
        if count > 2 {
            return json(413, &refusal("too_large", "requests"));
        }
        largest.replace_with(|old| count.max(*old));
        json(200, &answer(&vec![json!({}); count]))
    };
    with_server(QUICK, serve, async |client, _| {
        let line = Line::parse_from(["x", "--agent", "docs"]);
        let progress = Progress::open_ended();
        let ingest = Ingest::new(&client, &line.embed, Tally::default(), &progress);
        let (tally, stopped) =
            ingest.run(stream::iter(["a", "b", "c", "d", "e"].map(|body| Ok(piece(body))))).await;
        assert!(stopped.is_none());
        let summary = super::super::Summary { tally, stopped: None, elapsed: Duration::ZERO };
        assert_eq!(counts(&serde_json::from_str(&summary.json()).unwrap()), [5, 0, 0, 0]);
    })
    .await;
    assert_eq!(*largest.borrow(), 2);
}

#[tokio::test]
async fn an_answer_for_fewer_texts_is_not_believed() {
    with_server(
        QUICK,
        |_, _| json(200, &answer(&[json!({})])),
        async |client, _| {
            let line = Line::parse_from(["x", "--agent", "docs"]);
            let progress = Progress::open_ended();
            let ingest = Ingest::new(&client, &line.embed, Tally::default(), &progress);
            let (_, stopped) = ingest.run(stream::iter(["a", "b"].map(|body| Ok(piece(body))))).await;
            assert!(matches!(stopped, Some(Failure::Garbled(why)) if why == "1 results for 2 texts"));
        },
    )
    .await;
}
