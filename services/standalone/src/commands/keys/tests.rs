use std::{os::unix::fs::PermissionsExt, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use super::*;
use crate::client::test_server::{Asked, Log, json as answering, with_server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    keys: KeysArguments,
}

/// 2026-11-23T00:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

async fn say(
    line: &[&str],
    answer: impl Fn(usize, &Asked) -> Option<Response<Full<Bytes>>>,
) -> (Result<Said, Failure>, Log) {
    let line = Line::parse_from([&["x"], line].concat());
    let work = async |client, log| (super::answer(&client, &line.keys.command, "own", now()).await, log);
    with_server(Patience::ONCE, answer, work).await
}

fn key(id: &str, created: &str) -> Value {
    json!({"id": id, "name": format!("name of {id}"), "scopes": ["embed", "read"], "created_at": created})
}

fn rotated(id: &str) -> Value {
    json!({"id": format!("{id}2"), "key": format!("emb_live_{id}2_secret"), "name": "n", "scopes": ["embed"],
        "predecessor_id": id, "predecessor_expires_at": "2026-11-24T00:00:00Z"})
}

/// Answers every rotation.
fn rotates(_: usize, asked: &Asked) -> Option<Response<Full<Bytes>>> {
    answering(201, &rotated(asked.path.split('/').nth(5).unwrap()))
}

fn paths(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|asked| asked.path.clone()).collect()
}

#[tokio::test]
async fn a_made_key_is_shown_once_or_kept_in_a_file_of_ones_own() {
    let made = json!({"id": "abc", "key": "emb_live_abc_secret", "name": "ci", "scopes": ["embed"], "agent_id": "docs"});
    let line = ["create", "ci", "--scope", "embed,costs", "--agent", "docs"];
    let (said, log) = say(&line, |_, _| answering(201, &made)).await;
    insta::assert_snapshot!(said.unwrap().text);
    let body = json!({"name": "ci", "scopes": ["embed", "costs"], "agent_id": "docs"});
    assert_eq!(log.lock().unwrap()[0].body, body);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let line = ["create", "ci", "--out", path.to_str().unwrap()];
    let (said, log) = say(&line, |_, _| answering(201, &made)).await;
    assert!(!said.unwrap().text.contains("secret"));
    assert_eq!(log.lock().unwrap()[0].body, json!({"name": "ci"}), "the server knows the default scopes");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{made}\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // never written over, and nothing is made that could not be kept
    let (refused, log) = say(&line, |_, _| answering(201, &made)).await;
    assert!(matches!(refused, Err(Failure::Usage(_))), "{refused:?}");
    assert_eq!(paths(&log).len(), 0);
    // and what was not made leaves no file
    std::fs::remove_file(&path).unwrap();
    let (refused, _) = say(&line, |_, _| answering(400, &json!({}))).await;
    assert!(refused.is_err() && !path.exists());
}

#[tokio::test]
async fn a_list_follows_every_page_and_says_what_each_key_is_good_for() {
    let states = [
        json!({"last_used_at": "2026-11-22T10:00:00Z", "agent_id": "docs"}),
        json!({"expires_at": "2026-11-24T00:00:00Z", "successor_id": "b2"}),
        json!({"expires_at": "2026-11-23T00:00:00Z", "successor_id": "c2"}),
        json!({"revoked_at": "2026-11-20T00:00:00Z"}),
    ];
    let keys: Vec<Value> = ["a", "b", "c", "d"]
        .iter()
        .zip(states)
        .map(|(id, mut more)| {
            let mut key = key(id, "2026-11-01T00:00:00Z");
            key.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
            key
        })
        .collect();
    let answer = |earlier: usize, _: &Asked| match earlier {
        0 => answering(200, &json!({"keys": keys[..3], "next_page_token": "a/b"})),
        _ => answering(200, &json!({"keys": keys[3..]})),
    };
    let (said, log) = say(&["list"], answer).await;
    insta::assert_snapshot!(said.unwrap().text);
    assert_eq!(log.lock().unwrap()[1].query, "page_size=1000&page_token=a%2Fb");
    let (said, _) = say(&["list", "--json"], answer).await;
    assert_eq!(serde_json::from_str::<Value>(&said.unwrap().text).unwrap(), json!({"keys": keys}));
}

#[tokio::test]
async fn keys_are_rotated_one_after_the_other_and_ones_own_last() {
    let (said, log) = say(&["rotate", "own", "a", "b", "a", "--overlap", "1h"], rotates).await;
    let said = said.unwrap();
    assert!(said.failure.is_none());
    insta::assert_snapshot!(said.text);
    let expected = ["a", "b", "own"].map(|id| format!("/api/v1/admin/keys/{id}/rotate"));
    assert_eq!(paths(&log), expected);
    assert_eq!(log.lock().unwrap()[0].body, json!({"overlap": "1h"}));
}

#[tokio::test]
async fn what_is_due_is_every_live_key_of_an_age_but_ones_own() {
    let mut of = ["old", "new", "own", "ended", "under-way"].map(|id| key(id, "2026-10-01T00:00:00Z"));
    of[1]["created_at"] = json!("2026-11-22T00:00:00Z");
    of[3]["expires_at"] = json!("2026-11-01T00:00:00Z");
    of[4]["successor_id"] = json!("x");
    let answer = |earlier: usize, asked: &Asked| match earlier {
        0 => answering(200, &json!({"keys": of})),
        _ => rotates(earlier, asked),
    };
    let (said, log) = say(&["rotate", "--older-than", "30d"], answer).await;
    assert!(said.unwrap().text.contains("emb_live_old2_secret"));
    assert_eq!(paths(&log)[1..], ["/api/v1/admin/keys/old/rotate"]);
    let (said, log) = say(&["rotate", "--older-than", "30d", "--dry-run"], answer).await;
    assert_eq!((said.unwrap().text.as_str(), paths(&log).len()), ("would rotate: old\n", 1));
    let (said, _) = say(&["rotate", "--older-than", "300d"], answer).await;
    assert_eq!(said.unwrap().text, "no key is due\n");
}

#[tokio::test]
async fn a_failure_ends_the_work_and_hides_no_secret_that_was_made() {
    let refusing = |earlier: usize, asked: &Asked| match earlier {
        0 => rotates(0, asked),
        _ => answering(409, &json!({"error": {"code": "conflict", "message": "rotate its successor"}})),
    };
    let (said, log) = say(&["rotate", "a", "b", "c"], refusing).await;
    let said = said.unwrap();
    assert!(
        said.text.contains("emb_live_a2_secret") && matches!(said.failure, Some(Failure::Refused(_))),
        "{said:?}"
    );
    assert_eq!(paths(&log).len(), 2);

    // the answer is lost: it is not asked again, and what to do is said
    let breaking = |earlier: usize, asked: &Asked| if earlier == 0 { rotates(0, asked) } else { None };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let (said, log) = say(&["rotate", "a", "b", "--out", path.to_str().unwrap()], breaking).await;
    let said = said.unwrap();
    assert!(said.text.contains("b: whether it was rotated is not known"), "{said:?}");
    assert!(!said.text.contains("secret_") && !said.text.contains("emb_live"), "{said:?}");
    assert_eq!(paths(&log).len(), 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", rotated("a")));
}

#[tokio::test]
async fn an_update_sends_what_was_typed_and_a_revocation_each_key() {
    let (said, log) =
        say(&["update", "a", "--name", "other"], |_, _| answering(200, &key("a", "2026-11-01T00:00:00Z")))
            .await;
    assert!(said.unwrap().text.starts_with("id         a\nname       name of a\n"));
    assert_eq!(log.lock().unwrap()[0].body, json!({"name": "other"}));
    let (said, log) = say(&["revoke", "a", "b"], |earlier, _| match earlier {
        0 => answering(200, &json!({})),
        _ => answering(404, &json!({})),
    })
    .await;
    let said = said.unwrap();
    assert!(said.text == "revoked: a\n" && said.failure.is_some(), "{said:?}");
    assert_eq!(paths(&log), ["a", "b"].map(|id| format!("/api/v1/admin/keys/{id}/revoke")));
}

#[tokio::test]
async fn the_successor_of_ones_own_key_is_shown_once_or_kept_in_a_file() {
    let taken = json!({"id": "new", "key": "emb_live_new_secret", "name": "ci", "scopes": ["embed"], "predecessor_id": "old"});
    let (said, log) = say(&["successor"], |_, _| answering(201, &taken)).await;
    let text = said.unwrap().text;
    assert!(text.contains("emb_live_new_secret") && text.contains("shown this once"), "{text}");
    assert_eq!(paths(&log), ["/api/v1/keys/self/successor"]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let line = ["successor", "--out", path.to_str().unwrap()];
    let refusal = json!({"error": {"code": "conflict", "message": "the rotation of the key is not due"}});
    let (said, _) = say(&line, |_, _| answering(409, &refusal)).await;
    assert!(said.is_err() && !path.exists());
    let (said, _) = say(&line, |_, _| answering(201, &taken)).await;
    assert!(!said.unwrap().text.contains("secret"));
    assert!(std::fs::read_to_string(&path).unwrap().contains("emb_live_new_secret"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
