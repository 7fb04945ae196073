use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::client::test_server::{json as answering, with_server};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What is printed, and the path and body of each request; the first one is answered with `first`.
async fn said(line: &[&str], first: u16, body: Value) -> (Result<String, Failure>, Vec<(String, Value)>) {
    let line = Line::parse_from([&["x"], line].concat());
    let answer = |before: usize, _: &_| answering(if before == 0 { first } else { 200 }, &body);
    with_server(Patience::ONCE, answer, async |client, log| {
        let said = super::answer(&client, &line.command).await;
        let asked =
            log.lock().unwrap().iter().map(|asked| (asked.path.clone(), asked.body.clone())).collect();
        (said, asked)
    })
    .await
}

fn entry() -> Value {
    json!({"name": "own", "kind": "openai", "source": "api", "enabled": true, "has_credential": true,
        "credential_fingerprint": "ba7816bf", "version": 3, "models": ["text-embedding-3-small"]})
}

#[tokio::test]
async fn set_makes_what_is_not_there_with_the_credential_of_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "sk-secret\n").unwrap();
    let file = file.path().to_str().unwrap();
    let line =
        ["set", "own", "--kind", "openai", "--base-url", "https://own.example/v1", "--credential-file", file];
    let more = ["--models", "a,b", "--model-name", "a=x", "--requests-per-minute", "60"];
    let (said, asked) = said(&[&line[..], &more].concat(), 404, entry()).await;
    assert_eq!(asked[0].0, "/api/v1/admin/providers/own");
    let expected = json!({"name": "own", "kind": "openai", "base_url": "https://own.example/v1", "models": ["a", "b"],
        "model_names": {"a": "x"}, "rate_limit": {"requests_per_minute": 60}, "api_key": "sk-secret"});
    assert_eq!(asked[1], ("/api/v1/admin/providers".to_owned(), expected));
    let said = said.unwrap();
    assert!(said.contains("ba7816bf") && !said.contains("sk-secret"), "{said}");
}

#[tokio::test]
async fn set_changes_what_is_there_and_names_the_secret_by_the_kind() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "secret").unwrap();
    let file = file.path().to_str().unwrap();
    for (kind, field) in
        [("openai", "api_key"), ("bedrock", "secret_access_key"), ("vertex", "service_account_key")]
    {
        let there = json!({"name": "own", "kind": kind});
        let line = ["set", "own", "--credential-file", file, "--if-version", "3"];
        let (_, asked) = said(&line, 200, there).await;
        assert_eq!(asked[1].1, json!({"version": 3, field: "secret"}));
    }
    let (said, _) = said(&["set", "own", "--credential-file", "/no/such/file"], 200, entry()).await;
    assert!(matches!(said, Err(Failure::Usage(_))));
}

#[tokio::test]
async fn a_switch_says_nothing_else() {
    for (word, enabled) in [("enable", true), ("disable", false)] {
        let (_, asked) = said(&[word, "a b"], 200, entry()).await;
        assert_eq!(asked, [("/api/v1/admin/providers/a%20b".to_owned(), json!({"enabled": enabled}))]);
    }
}

#[tokio::test]
async fn a_credential_that_was_removed_shows() {
    let removed = json!({"name": "own", "kind": "openai", "source": "api", "enabled": true, "credential_removed": true});
    let (said, _) =
        said(&["list"], 200, json!({"providers": [removed, {"name": "local", "source": "file"}]})).await;
    let said = said.unwrap();
    assert!(said.contains("removed, give it again") && said.contains("local"), "{said}");
}
