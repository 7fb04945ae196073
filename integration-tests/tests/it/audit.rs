//! No change without its record, and no record without its change, whatever kills admin in between.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::Client,
    running::{Running, bin, wait_until},
    tenants::AGENTS,
};

const RECORDS: &str = "/api/v1/admin/audit";

/// `embermesh audit …` with the first admin key.
fn audit(running: &Running, words: &[&str]) -> Output {
    let mut command = Command::new(bin("embermesh"));
    command.arg("audit").args(words).env("EMBERMESH_URL", &running.url);
    command.env("EMBERMESH_ADMIN_KEY", running.keys["admin_key"].as_str().unwrap()).output().unwrap()
}

/// Changes an agent until it is told to stop; what was acknowledged, as agent and version.
async fn change(
    client: Client,
    agent: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = json!({"constraints": {"max_tokens_per_request": n + 1}});
        let answer = client.put(&format!("{AGENTS}/{agent}"), body).await;
        if answer.status == 200 {
            acknowledged.push((agent.clone(), answer.body["version"].as_i64().unwrap()));
            done.fetch_add(1, Ordering::Relaxed);
        } else {
            answer.refused(503, "unavailable");
        }
    }
    acknowledged
}

#[tokio::test]
async fn every_change_has_its_record_after_kill_9_and_a_hand_on_the_database_is_found() {
    let mut running = Running::five("").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for n in 0..4 {
        writers.spawn(change(running.admin(), format!("agent-{n}"), stop.clone(), done.clone()));
    }
    for round in 1..=3 {
        wait_until(|| async { done.load(Ordering::Relaxed) > 20 * round }).await;
        running.process("admin").kill();
        running.start_again("admin").await;
    }
    wait_until(|| async { done.load(Ordering::Relaxed) > 80 }).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writers.join_all().await.concat();

    let sql = running.sql().await;
    let recorded = "SELECT subject, (details->>'version')::bigint FROM admin.audit_records
                    WHERE action IN ('agent.create', 'agent.put') ORDER BY 1, 2";
    let changed = "SELECT agent_id, version FROM admin.agent_versions ORDER BY 1, 2";
    let pairs = async |statement: &str| -> Vec<(String, i64)> {
        sql.query(statement, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let recorded = pairs(recorded).await;
    assert_eq!(recorded, pairs(changed).await);
    assert!(acknowledged.iter().all(|one| recorded.contains(one)));

    let admin = running.admin();
    let verified: Value = admin.post(&format!("{RECORDS}/verify"), json!({})).await.ok();
    assert_eq!(verified["intact"], true, "{verified}");
    assert!(verified["anchors"].as_u64() >= Some(2), "{verified}");
    let newest = admin.get(&format!("{RECORDS}?page_size=1&subject=agent-2")).await.ok();
    let record = &newest["records"][0];
    assert_eq!((&record["action"], &record["subject"]), (&json!("agent.put"), &json!("agent-2")));
    assert!(
        record["details"]["version"].is_i64() && record["hash"].as_str().unwrap().len() == 64,
        "{record}"
    );
    let listed = audit(&running, &["list", "--limit", "3"]);
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("agent.put"));
    assert_eq!(audit(&running, &["verify"]).status.code(), Some(0));

    let blame = "UPDATE admin.audit_records SET changed_by = 'somebody-else' WHERE number = 7 AND action = 'agent.put'";
    assert_eq!(sql.execute(blame, &[]).await.unwrap(), 1);
    let found = audit(&running, &["verify", "--json"]);
    assert_eq!(found.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let faults = found["faults"].as_array().unwrap();
    assert_eq!((faults.len(), &faults[0]["number"]), (1, &json!(7)), "{found}");
}
