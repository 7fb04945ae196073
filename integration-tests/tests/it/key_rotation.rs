//! A key is changed under load: no call is refused while both versions work, and none of the old one is accepted afterwards.

use std::{
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use futures::future::{join, join_all};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    running::{Running, bin, root, tools, wait_until},
};

/// Callers at each gateway.
const CALLERS: usize = 4;
/// Calls a second that all callers together make where the machine lets them.
const PACE: u32 = 200;
/// Calls of a kind that make a load.
const ENOUGH: usize = 100;
const KEYS: &str = "/api/v1/admin/keys";

#[expect(clippy::disallowed_methods, reason = "it is the services' own clock that a key ends by")]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn call(client: &Client) -> Answer {
    let body = json!({"agent_id": "steady", "text": "the same every time", "store": false});
    client.post("/api/v1/embeddings", body).await
}

/// One call with a key that ends at `end`, which may not be known yet. Counts it among those that were accepted or refused.
async fn call_until_the_end(
    client: &Client,
    end: &OnceLock<SystemTime>,
    accepted: &AtomicUsize,
    refused: &AtomicUsize,
) {
    let sent = now();
    let answer = call(client).await;
    let answered = now();
    match end.get() {
        Some(end) if sent >= *end => {
            answer.refused(401, "unauthenticated");
            refused.fetch_add(1, SeqCst);
        }
        // under way when it ended: either is right
        Some(end) if answered >= *end => assert!([200, 401].contains(&answer.status), "{}", answer.body),
        _ => {
            answer.ok();
            accepted.fetch_add(1, SeqCst);
        }
    }
}

#[tokio::test]
async fn rotation_under_load_refuses_nothing_and_after_the_overlap_accepts_nothing() {
    let local =
        format!("embedding: {{router: {{local_model_dir: '{}'}}}}\n", tools().join("minilm").display());
    let mut running = Running::five(&format!("{local}gateway: {{key_use_interval: 100ms}}\n")).await;
    let urls = [running.url.clone(), running.another_pair().await];
    let admin = running.admin();
    let made = admin.post(KEYS, json!({"name": "steady", "agent_id": "steady"})).await.ok();
    let (old_id, old_key) = (text(&made["id"]), text(&made["key"]));
    let clients = |key: &str| urls.each_ref().map(|url| Client::new(url, key));
    let old = clients(&old_key);
    for client in &old {
        wait_until(|| async { call(client).await.status == 200 }).await;
    }

    let (end, successor, over) = (OnceLock::new(), OnceLock::new(), AtomicBool::new(false));
    let [accepted, refused, taken_over] = [const { AtomicUsize::new(0) }; 3];
    let each = Duration::from_secs(1) * u32::try_from(CALLERS * old.len()).unwrap() / PACE;
    let load = join_all(old.iter().enumerate().flat_map(|(at, client)| {
        let (end, successor, over) = (&end, &successor, &over);
        let (accepted, refused, taken_over) = (&accepted, &refused, &taken_over);
        (0..CALLERS).map(move |caller| async move {
            let mut pace = tokio::time::interval(each);
            while !over.load(SeqCst) {
                pace.tick().await;
                // half of the callers never learn of the new key
                match successor.get().filter(|_| caller % 2 == 0) {
                    Some(new) => {
                        let new: &[Client; 2] = new;
                        call(&new[at]).await.ok();
                        taken_over.fetch_add(1, SeqCst);
                    }
                    None => call_until_the_end(client, end, accepted, refused).await,
                }
            }
        })
    }));
    let begun = Instant::now();
    let operator = async {
        let enough = |counter: &AtomicUsize| std::future::ready(counter.load(SeqCst) >= ENOUGH);
        wait_until(|| enough(&accepted)).await;
        let body = json!({"overlap": "8s"});
        let rotated = admin.post(&format!("{KEYS}/{old_id}/rotate"), body).await.ok();
        end.set(humantime::parse_rfc3339(rotated["predecessor_expires_at"].as_str().unwrap()).unwrap())
            .unwrap();
        let new = clients(rotated["key"].as_str().unwrap());
        // the other gateway hears of it from the control plane
        for client in &new {
            wait_until(|| async { call(client).await.status == 200 }).await;
        }
        assert!(successor.set(new).is_ok());
        wait_until(|| enough(&refused)).await;
        wait_until(|| enough(&taken_over)).await;
        over.store(true, SeqCst);
        rotated
    };
    let (_, rotated) = join(load, operator).await;
    let [accepted, refused, taken_over] =
        [&accepted, &refused, &taken_over].map(|counter| counter.load(SeqCst));
    let per_second = (accepted + refused + taken_over) as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{per_second:.0} calls a second: {accepted} by the old key before its end and {taken_over} by the new one, 0 failed; \
         {refused} by the old one after its end, 0 accepted"
    );
    assert_eq!(rotated["predecessor_id"], old_id);

    // both were used, and the control plane knows
    let new_id = text(&rotated["id"]);
    for id in [&old_id, &new_id] {
        let path = format!("{KEYS}/{id}");
        wait_until(|| async { admin.get(&path).await.ok()["last_used_at"].is_string() }).await;
    }
    // what has ended is neither rotated nor brought back
    admin.post(&format!("{KEYS}/{old_id}/rotate"), json!({})).await.refused(409, "conflict");
    let later = json!({"expires_at": "2090-01-01T00:00:00Z"});
    admin.put(&format!("{KEYS}/{old_id}"), later.clone()).await.refused(409, "conflict");
    admin.post(&format!("{KEYS}/{new_id}/revoke"), json!({})).await.ok();
    for client in successor.get().unwrap() {
        wait_until(|| async { call(client).await.status == 401 }).await;
        call(client).await.refused(401, "unauthenticated");
    }
    admin.post(&format!("{KEYS}/{new_id}/rotate"), json!({})).await.refused(409, "conflict");
    admin.put(&format!("{KEYS}/{new_id}"), later).await.refused(409, "conflict");
}

#[tokio::test]
async fn the_script_rotates_what_is_due_into_a_file_of_ones_own() {
    let running = Running::one("").await;
    let script = |arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts/rotate-api-keys.sh"));
        command
            .args(arguments)
            .env("EMBERMESH_BIN", bin("embermesh"))
            .env("EMBERMESH_DATA_DIR", &running.dir);
        command.env_remove("EMBERMESH_URL").env_remove("EMBERMESH_ADMIN_KEY");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), said)
    };
    // nothing is thirty days old
    assert_eq!(script(&[]), (0, "no key is due\n".to_owned()));
    let out = running.dir.join("new-keys.jsonl");
    let (code, said) = script(&["--older-than", "0s", "--overlap", "0s", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("The new keys are in") && !said.contains("emb_live_"), "{said}");
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&out).unwrap();
    // the agent's key alone: the admin's is the one that did it
    let rotated: Value = serde_json::from_str(&written).unwrap();
    let old = running.keys["agent_key"].as_str().unwrap();
    assert_eq!(old.split('_').nth(2), rotated["predecessor_id"].as_str());
    running.agent().get("/api/v1/embeddings").await.refused(401, "unauthenticated");
    Client::new(&running.url, rotated["key"].as_str().unwrap()).get("/api/v1/embeddings").await.ok();

    // what fails leaves the file alone, and says so by its exit code
    let (code, said) = script(&["--older-than", "0s", "--out", out.to_str().unwrap()]);
    assert_eq!((code, std::fs::read_to_string(&out).unwrap()), (2, written), "{said}");
    let ended = rotated["predecessor_id"].as_str().unwrap();
    let (code, said) = script(&[ended, "--print"]);
    assert!(code == 4 && said.contains("expired"), "{code} {said}");
    assert_eq!(script(&["a/b"]).0, 2);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
