//! Rotation by itself, through the whole system: the holder of a key hears that it is due, takes the successor, and nothing is refused.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, bin, wait_until},
};

const SELF: &str = "/api/v1/keys/self";
const DUE: &str = "x-embermesh-key-rotation";
const EXPIRES: &str = "x-embermesh-key-expires";
const CALL: &str = "/api/v1/embeddings";

#[tokio::test]
async fn a_key_ends_once_its_successor_is_used_and_one_that_nobody_replaces_goes_on() {
    let yaml = "gateway: {key_use_interval: 100ms}\n\
        embedding: {security: {api_key_rotation: {enabled: true, rotation_period: 1s, overlap: 5s}}}\n";
    let running = Running::one(yaml).await;
    let made = async |name: &str| {
        let made = running.admin().post("/api/v1/admin/keys", json!({"name": name})).await.ok();
        made["key"].as_str().unwrap().to_owned()
    };
    let (old_key, idle_key) = (made("rotates").await, made("nobody asks").await);
    let (old, idle) = (Client::new(&running.url, &old_key), Client::new(&running.url, &idle_key));
    for client in [&old, &idle] {
        wait_until(|| async {
            let answer = client.get(CALL).await;
            assert_eq!(answer.status, 200);
            answer.headers.get(DUE).is_some_and(|due| due == "due")
        })
        .await;
        let answer = client.get(SELF).await;
        assert!(!answer.headers.contains_key(EXPIRES), "it has no end");
        assert!(answer.ok()["rotation_due_at"].is_string());
    }

    let file = running.dir.join("successor.json");
    let mut command = Command::new(bin("embermesh"));
    command.args(["keys", "successor", "--out"]).arg(&file);
    command.env("EMBERMESH_URL", &running.url).env("EMBERMESH_API_KEY", &old_key);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let taken: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let key = taken["key"].as_str().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains(key));
    // somebody else with the key comes too late, and too early
    let second = old.post(&format!("{SELF}/successor"), json!({})).await;
    assert!(second.refused(409, "conflict").contains("given out"));
    assert!(second.header("retry-after").parse::<u64>().unwrap() > 60);

    let successor = Client::new(&running.url, key);
    successor.get(CALL).await.ok();
    // then its end is told, and comes
    let mut warned = false;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let answer = old.get(CALL).await;
        successor.get(CALL).await.ok();
        if answer.status == 401 {
            break;
        }
        warned |= answer.headers.contains_key(EXPIRES);
        assert!(answer.status == 200 && std::time::Instant::now() < until, "{}", answer.body);
    }
    assert!(warned, "the end came without a warning");
    idle.get(CALL).await.ok();
    let metrics = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("admin_keys_rotation_due "), "{metrics}");
}
