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
    with_server(Patience::ONCE, move |_, _| answering(status, &body), work).await
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
        (&["--retention-days", "30"], json!({"retention_days": 30})),
        (&["--keep-rows"], json!({"clear": ["retention_days"]})),
        (&["--resume", "--name", "Acme"], json!({"suspended": false, "name": "Acme"})),
        (
            &["--allow", "a", "--no-default-models"],
            json!({"allowed_models": ["a"], "clear": ["default_models"]}),
        ),
        (
            &["--allow-all", "--default-model", "b"],
            json!({"default_models": ["b"], "clear": ["allowed_models"]}),
        ),
        (
            &["--quota", "requests_per_day=10,tokens_per_month=0", "--no-quota", "tokens_per_day"],
            json!({"quotas": {"requests_per_day": 10, "tokens_per_month": 0}, "clear": ["quotas.tokens_per_day"]}),
        ),
        (&["--no-quotas"], json!({"clear": ["quotas"]})),
    ] {
        let (said, log) = say(&[&["update", ID], line].concat(), 200, tenant("acme", json!({}))).await;
        assert!(said.unwrap().text.contains("active"));
        let log = log.lock().unwrap();
        assert_eq!((log[0].path.as_str(), &log[0].body), (format!("{TENANTS}/{ID}").as_str(), &body));
    }
    for wrong in ["bytes_per_day=1", "requests_per_day", "requests_per_day=-1", "requests_per_day=many"] {
        assert!(Line::try_parse_from(["x", "update", ID, "--quota", wrong]).is_err(), "{wrong}");
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

#[tokio::test]
async fn a_tenant_is_shown_with_the_use_of_its_quotas() {
    let line = Line::parse_from(["x", "get", ID]);
    let work = async |client, log| (super::answer(&client, &line.tenants.command).await, log);
    let state = json!({"quota": "tokens", "period": "day", "limit": 9000, "used": 4500, "reserved": 0, "presumed": 0,
        "utilization": 0.5, "resets_at": "2026-11-23T00:00:00Z"});
    let answers = [tenant("acme", json!({})), json!({"quotas": [state]})];
    let answer = move |earlier: usize, _: &_| answering(200, &answers[earlier]);
    let (said, log): (Result<Said, Failure>, Log) = with_server(Patience::ONCE, answer, work).await;
    let said = said.unwrap();
    assert!(said.text.contains("acme") && said.text.contains("50.0 %"), "{}", said.text);
    assert!(said.failure.is_none());
    assert_eq!(log.lock().unwrap()[1].path, format!("{TENANTS}/{ID}/quotas"));
    // who cannot be told of the use is told of the tenant
    let (said, _) = say(&["get", ID], 200, tenant("acme", json!({}))).await;
    let said = said.unwrap();
    assert!(said.text.contains("acme") && said.failure.is_some());
}
