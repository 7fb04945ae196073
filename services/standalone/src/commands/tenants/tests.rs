use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::client::test_server::{Log, json as answering, with_server};

const ID: &str = "0192d5a0-0000-7000-8000-00000000beef";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    tenants: TenantsArguments,
}

fn tenant(name: &str, more: Value) -> Value {
    let mut tenant = json!({"id": ID, "name": name, "operator": false, "suspended": false, "allowed_models": [],
        "default_models": [], "version": 1, "created_at": "2026-11-22T12:00:00Z"});
    tenant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tenant
}

async fn say(line: &[&str], status: u16, body: Value) -> (Result<Said, Failure>, Log) {
    let line = Line::parse_from([&["x"], line].concat());
    let work = async |client, log| (super::answer(&client, &line.tenants.command).await, log);
    with_server(ONCE, move |_, _| answering(status, &body), work).await
}

#[tokio::test]
async fn a_made_tenants_key_is_shown_once_or_kept_in_a_file() {
    let made = json!({"id": ID, "name": "acme", "admin_key_id": "abc", "admin_key": "emb_live_abc_secret"});
    let (said, log) = say(&["create", "acme", "--allow", "a,b"], 201, made.clone()).await;
    let text = said.unwrap().text;
    assert!(
        text.contains("emb_live_abc_secret") && text.contains(ID) && text.contains("shown this once"),
        "{text}"
    );
    assert_eq!(log.lock().unwrap()[0].body, json!({"name": "acme", "allowed_models": ["a", "b"]}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let line = ["create", "acme", "--out", path.to_str().unwrap()];
    let (said, _) = say(&line, 201, made.clone()).await;
    assert!(!said.unwrap().text.contains("secret"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{made}\n"));
    // what was not made leaves no file
    std::fs::remove_file(&path).unwrap();
    let (refused, _) = say(&line, 409, json!({})).await;
    assert!(refused.is_err() && !path.exists());
}

#[tokio::test]
async fn tenants_are_listed_with_their_state() {
    let page = json!({"tenants": [
        tenant("default", json!({"operator": true})),
        tenant("acme", json!({"allowed_models": ["a", "b"], "default_models": ["a"]})),
        tenant("late", json!({"suspended": true})),
        tenant("gone", json!({"suspended": true, "closed_at": "2026-11-22T12:00:00Z"})),
    ]});
    let (said, _) = say(&["list"], 200, page.clone()).await;
    let text = said.unwrap().text;
    let states = ["state", "operator", "active", "suspended", "closed"];
    for (line, state) in text.lines().zip(states) {
        assert!(line.contains(state), "{text}");
    }
    assert_eq!(text.lines().count(), states.len());
    assert!(text.contains("a,b"), "{text}");
    let (said, _) = say(&["list", "--json"], 200, page.clone()).await;
    assert_eq!(serde_json::from_str::<Value>(&said.unwrap().text).unwrap(), page);
}

#[tokio::test]
async fn an_update_sends_what_is_to_change_and_nothing_else() {
    for (line, body) in [
        (&["--suspend"][..], json!({"suspended": true})),
        (&["--resume", "--name", "Acme"], json!({"suspended": false, "name": "Acme"})),
        (
            &["--allow", "a", "--no-default-models"],
            json!({"allowed_models": ["a"], "clear": ["default_models"]}),
        ),
        (
            &["--allow-all", "--default-model", "b"],
            json!({"default_models": ["b"], "clear": ["allowed_models"]}),
        ),
    ] {
        let (said, log) = say(&[&["update", ID], line].concat(), 200, tenant("acme", json!({}))).await;
        assert!(said.unwrap().text.contains("active"));
        let log = log.lock().unwrap();
        assert_eq!((log[0].path.as_str(), &log[0].body), (format!("{TENANTS}/{ID}").as_str(), &body));
    }
    for refused in [&["update", ID][..], &["update", ID, "--suspend", "--resume"], &["close", "acme"]] {
        assert!(Line::try_parse_from([&["x"], refused].concat()).is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_closed_tenant_is_shown_as_such() {
    let closed = tenant("acme", json!({"closed_at": "2026-11-22T12:00:00Z"}));
    let (said, log) = say(&["close", ID], 200, closed).await;
    assert!(said.unwrap().text.contains("closed"));
    assert_eq!(log.lock().unwrap()[0].path, format!("{TENANTS}/{ID}"));
}
