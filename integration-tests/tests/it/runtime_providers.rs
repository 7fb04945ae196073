//! Providers that come, change and go over the API while the system works.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use embermesh_testing::sim::{Call, Deployment, DeploymentSpec, Simulator};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, SMALL_SPACE, assert_right, candidate, entry, explain, openai, unstored, yaml},
};

const PROVIDERS: &str = "/api/v1/admin/providers";
/// Nowhere but in requests and, sealed, where it is kept.
const SECRET: &str = "sk-canary-Xq71vT";

/// Deployments that take any key.
async fn careless(names: &[&str]) -> Simulator {
    let specs: Vec<DeploymentSpec> = names.iter().map(|name| DeploymentSpec::named(name)).collect();
    Simulator::start(&specs).await.unwrap()
}

/// The section that lets entries of the API name these deployments, with a key to seal credentials with.
fn security(deployments: &[Deployment]) -> String {
    let hosts: Vec<String> = deployments.iter().map(|one| format!("'{}'", host(one))).collect();
    format!("security: {{provider_hosts: [{}], credential_keys: '1:{}'}}", hosts.join(", "), "ab".repeat(32))
}

/// What has reached a deployment.
fn calls(simulator: &Simulator, deployment: &Deployment) -> Vec<Call> {
    simulator.calls().into_iter().filter(|call| call.deployment == deployment.name()).collect()
}

fn host(deployment: &Deployment) -> String {
    deployment.origin().trim_start_matches("http://").to_owned()
}

fn wanted(deployment: &Deployment, key: &str) -> Value {
    let (name, url) = (deployment.name(), deployment.base_url());
    json!({"name": name, "kind": "openai", "base_url": url, "models": [SMALL], "timeout": "5s", "api_key": key})
}

async fn put(running: &Running, name: &str, change: Value) -> Value {
    running.admin().put(&format!("{PROVIDERS}/{name}"), change).await.ok()
}

/// Embeds with several clients until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
    loops: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (stop, failed, answered) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { stop, failed, answered, loops: Vec::new() };
        for n in 0..4 {
            let (client, stop) = (client.clone(), Arc::clone(&load.stop));
            let (failed, answered) = (Arc::clone(&load.failed), Arc::clone(&load.answered));
            #[expect(clippy::disallowed_methods, reason = "ends with the test's load")]
            load.loops.push(tokio::spawn(async move {
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    let text = format!("text {at} of loop {n}");
                    let answer =
                        client.post("/api/v1/embeddings", unstored("load", &text, Some(SMALL))).await;
                    if answer.status == 200 {
                        assert_right(&answer.body, SMALL, &text);
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        println!("{} {}", answer.status, answer.body);
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    at += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }));
        }
        load
    }

    /// Until so many more have been answered.
    async fn goes_on(&self, more: usize) {
        let from = self.answered.load(Ordering::Relaxed);
        wait_until(|| async { self.answered.load(Ordering::Relaxed) >= from + more }).await;
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for ended in join_all(self.loops).await {
            ended.unwrap();
        }
        self.failed.load(Ordering::Relaxed)
    }
}

/// One deployment of the file and others that may come, with probes on.
async fn system(simulator: &Simulator) -> Running {
    let first = &simulator.deployments()[0];
    Running::five(&yaml(&[entry(first, &[SMALL], "")], &[&security(simulator.deployments())])).await
}

#[tokio::test]
async fn a_provider_comes_changes_its_credential_and_goes_under_load_without_a_failed_request() {
    let simulator = careless(&["first", "second"]).await;
    let running = system(&simulator).await;
    let (first, second) = (&simulator.deployments()[0], &simulator.deployments()[1]);
    let load = Load::start(&running.agent());
    load.goes_on(20).await;
    assert_eq!(calls(&simulator, second).len(), 0);

    let made = running.admin().post(PROVIDERS, wanted(second, SECRET)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!((&made.body["has_credential"], &made.body["version"]), (&json!(true), &json!(1)));
    wait_until(|| async { calls(&simulator, second).len() > 20 }).await;
    // it was shown to give the space's vectors before it served
    let first_call = calls(&simulator, second).remove(0);
    assert!(first_call.texts[0].starts_with("The night ferry"), "{first_call:?}");

    for n in 0..5 {
        let rotated = put(&running, "second", json!({"api_key": format!("{SECRET}-{n}")})).await;
        assert_eq!(rotated["version"], n + 2, "{rotated}");
        load.goes_on(20).await;
    }
    put(&running, "second", json!({"rate_limit": {"requests_per_minute": 100_000}, "timeout": "9s"})).await;
    load.goes_on(40).await;

    // switched off: nothing more is sent there once it is out of force
    put(&running, "second", json!({"enabled": false})).await;
    out_of_force(&running, "second").await;
    let seen = calls(&simulator, second).len();
    load.goes_on(60).await;
    assert_eq!(calls(&simulator, second).len(), seen);

    put(&running, "second", json!({"enabled": true})).await;
    wait_until(|| async { calls(&simulator, second).len() > seen + 20 }).await;
    // one of the file can be switched too, and then the other one serves alone
    put(&running, "first", json!({"enabled": false})).await;
    out_of_force(&running, "first").await;
    let seen = calls(&simulator, first).len();
    load.goes_on(60).await;
    assert_eq!(calls(&simulator, first).len(), seen);
    running.admin().delete(&format!("{PROVIDERS}/first")).await.ok();
    wait_until(|| async { calls(&simulator, first).len() > seen + 20 }).await;
    running.admin().delete(&format!("{PROVIDERS}/second")).await.ok();
    out_of_force(&running, "second").await;
    load.goes_on(40).await;
    assert_eq!(load.end().await, 0, "requests failed");
    let gone = running.admin().get(&format!("{PROVIDERS}/second")).await;
    gone.refused(404, "not_found");
}

async fn out_of_force(running: &Running, name: &str) {
    wait_until(|| async {
        let health = running.admin().get("/api/v1/embeddings/providers/health").await.ok();
        health["providers"].get(name).is_none()
    })
    .await;
    // calls that had begun
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_credential_does_not_go_along_to_another_address() {
    let simulator = openai(&["one", "two"]).await;
    let (one, two) = (&simulator.deployments()[0], &simulator.deployments()[1]);
    let running = Running::five(&yaml(&[], &[QUIET, &security(simulator.deployments())])).await;
    let admin = running.admin();
    let made = admin.post(PROVIDERS, wanted(one, "sk-test")).await.ok();
    assert_eq!((&made["has_credential"], &made["credential_removed"]), (&json!(true), &json!(false)));
    let embed = |text: String| {
        let agent = running.agent();
        async move { agent.post("/api/v1/embeddings", unstored("a", &text, Some(SMALL))).await }
    };
    wait_until(|| async { embed("before".to_owned()).await.status == 200 }).await;

    let moved = put(&running, "one", json!({"base_url": two.base_url()})).await;
    assert_eq!(
        (&moved["has_credential"], &moved["credential_removed"]),
        (&json!(false), &json!(true)),
        "{moved}"
    );
    assert!(moved.get("credential_fingerprint").is_none(), "{moved}");
    let health =
        || async { admin.get("/api/v1/embeddings/providers/health").await.ok()["providers"]["one"].clone() };
    wait_until(|| async { health().await["status"] == "unhealthy" }).await;
    let health = health().await;
    assert!(health["error"].as_str().unwrap().starts_with("its credential was removed"), "{health}");
    let explained = explain(&running, "a", json!({"model": SMALL})).await;
    let refused = candidate(&explained, &format!("one/{SMALL}"));
    assert_eq!(refused["status"], "excluded");
    assert!(refused["reason"].as_str().unwrap().starts_with("its credential was removed"), "{refused}");
    let answer = embed("nobody there".to_owned()).await;
    answer.refused(503, "unavailable");
    assert!(
        answer.body["error"]["message"].as_str().unwrap().contains("its credential was removed"),
        "{}",
        answer.body
    );
    assert_eq!(calls(&simulator, two).len(), 0);
    // back to the old address: the credential stays gone
    put(&running, "one", json!({"base_url": one.base_url()})).await;
    embed("still nobody".to_owned()).await.refused(503, "unavailable");

    // a wrong one is refused by the provider, and the right one is not made to wait for the wrong one's rest
    put(&running, "one", json!({"api_key": "sk-wrong"})).await;
    wait_until(|| async {
        calls(&simulator, one).iter().filter(|call| call.status == Some(401)).count() > 0
            || embed("x".to_owned()).await.status == 200
    })
    .await;
    assert!(calls(&simulator, one).iter().any(|call| call.status == Some(401)));
    put(&running, "one", json!({"base_url": two.base_url(), "api_key": "sk-test"})).await;
    wait_until(|| async { embed("after".to_owned()).await.status == 200 }).await;
    assert!(!calls(&simulator, two).is_empty());
}

#[tokio::test]
async fn what_came_over_the_api_serves_after_a_restart_without_the_control_plane() {
    let simulator = openai(&["late"]).await;
    let late = &simulator.deployments()[0];
    let mut running = Running::five(&yaml(&[], &[&security(simulator.deployments())])).await;
    running.admin().post(PROVIDERS, wanted(late, "sk-test")).await.ok();
    let agent = running.agent();
    let embed = |text: &'static str| {
        let agent = agent.clone();
        async move { agent.post("/api/v1/embeddings", unstored("a", text, Some(SMALL))).await }
    };
    wait_until(|| async { embed("before").await.status == 200 }).await;
    let copy = running.dir.with_file_name("provider-router").join("router.snapshot");
    // the provider, and what its vectors are held to
    wait_until(|| async { holds(&copy, late.name()) && holds(&copy, SMALL_SPACE) }).await;
    assert!(!holds(&copy, "sk-test"));

    running.process("admin").kill();
    running.start_again("provider-router").await;
    // the gateway finds it again at its own pace
    wait_until(|| async { embed("until it is found").await.status == 200 }).await;
    let answer = embed("after").await.ok();
    assert_right(&answer, SMALL, "after");
    assert_eq!(answer["provider"], "late");
}

fn holds(path: &Path, part: &str) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[tokio::test]
async fn a_credential_is_nowhere_to_be_read() {
    let simulator = careless(&["kept"]).await;
    let kept = &simulator.deployments()[0];
    let config =
        format!("logging: {{level: debug}}\n{}", yaml(&[], &[QUIET, &security(simulator.deployments())]));
    let running = Running::five(&config).await;
    let admin = running.admin();
    let mut answers = vec![admin.post(PROVIDERS, wanted(kept, SECRET)).await.body];
    wait_until(|| async {
        running.agent().post("/api/v1/embeddings", unstored("a", "text", Some(SMALL))).await.status == 200
    })
    .await;
    answers.push(put(&running, "kept", json!({"api_key": format!("{SECRET}-2"), "timeout": "7s"})).await);
    // refusals of every sort, each with the secret in the request
    let kind = json!({"name": "x", "kind": "local", "api_key": SECRET});
    let useless = json!({"name": "x", "kind": "openai", "region": "eu", "api_key": SECRET});
    let elsewhere =
        json!({"name": "x", "kind": "openai", "base_url": "https://evil.example", "api_key": SECRET});
    let user =
        json!({"name": "x", "kind": "openai", "base_url": format!("https://u:{SECRET}@api.openai.com")});
    let unknown = json!({"name": "x", "kind": "openai", "api_keys": SECRET});
    let file =
        json!({"name": "x", "kind": "vertex", "project": "p", "region": "r", "service_account_key": SECRET});
    for body in [kind, useless, elsewhere, user, unknown, file, wanted(kept, SECRET)] {
        let answer = admin.post(PROVIDERS, body).await;
        assert!(matches!(answer.status, 400 | 409), "{} {}", answer.status, answer.body);
        answers.push(answer.body);
    }
    put(&running, "kept", json!({"enabled": false})).await;
    put(&running, "kept", json!({"enabled": true})).await;
    for path in [
        PROVIDERS,
        "/api/v1/admin/providers/kept",
        "/api/v1/admin/audit",
        "/api/v1/embeddings/providers/health",
    ] {
        answers.push(admin.get(path).await.ok());
    }
    let audited = &answers[answers.len() - 2]["records"];
    let told =
        |action: &str| audited.as_array().unwrap().iter().filter(|record| record["action"] == action).count();
    assert_eq!((told("provider.create"), told("provider.update")), (1, 3), "{audited}");
    answers.push(admin.delete("/api/v1/admin/providers/kept").await.body);
    let again = admin.post(PROVIDERS, wanted(kept, SECRET)).await;
    assert_eq!(again.status, 201);

    let sql = running.sql().await;
    let mut dump = String::new();
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('admin', 'ledger', 'store')";
    for table in sql.query(tables, &[]).await.unwrap() {
        let table: &str = table.get(0);
        for row in sql.query(&format!("SELECT t::text FROM {table} t"), &[]).await.unwrap() {
            dump.push_str(row.get(0));
        }
    }
    assert!(dump.contains(kept.name()), "the dump is of another database");
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let metrics = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    for (place, text) in [
        ("answers", format!("{answers:?}")),
        ("logs", running.logs()),
        ("database", dump),
        ("metrics", metrics),
    ] {
        // also as bytea is printed
        assert!(!text.contains(SECRET) && !text.contains(&hexadecimal(SECRET)), "in the {place}");
    }
    let mut files = vec![running.dir.parent().unwrap().to_owned()];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            assert!(!holds(&path, SECRET), "in {}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[tokio::test]
async fn an_address_that_the_file_does_not_allow_is_neither_kept_nor_called() {
    let simulator = openai(&["inside"]).await;
    let inside = &simulator.deployments()[0];
    let running = Running::one(&yaml(&[], &[QUIET])).await;
    let admin = running.admin();
    // the server of this machine is none of the known hosts, and metadata servers are nobody's provider
    for url in [
        inside.base_url().as_str(),
        "http://169.254.169.254/latest",
        "https://[::ffff:127.0.0.1]/v1",
        "https://2130706433/v1",
        "https://api.openai.com@127.0.0.1/v1",
        "https://api.openai.com./v1",
        "https://api.openai.com:22/v1",
        "http://api.openai.com/v1",
    ] {
        let body = json!({"name": "x", "kind": "openai", "base_url": url, "api_key": "sk-test"});
        let answer = admin.post(PROVIDERS, body).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.body["error"]["param"], "base_url", "{url}: {}", answer.body);
    }
    // `embermesh up` has a key to seal with, which it made itself
    let made = admin.post(PROVIDERS, json!({"name": "cohere", "api_key": SECRET})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = running.dir.join("credential.keys");
    assert!(path.is_file());
    assert_eq!(calls(&simulator, inside).len(), 0);
}

#[tokio::test]
async fn without_a_key_to_seal_with_credentials_are_refused() {
    let running = Running::five("").await;
    let admin = running.admin();
    let answer = admin.post(PROVIDERS, json!({"name": "openai", "api_key": SECRET})).await;
    answer.refused(409, "conflict");
    assert!(
        answer.body["error"]["message"].as_str().unwrap().contains("credential_keys_file"),
        "{}",
        answer.body
    );
    admin.get(&format!("{PROVIDERS}/openai")).await.refused(404, "not_found");
    // what needs no secret can be kept: switching the local model off, and on again
    put(&running, "local", json!({"enabled": false})).await;
    let off =
        || async { running.agent().post("/api/v1/embeddings", json!({"text": "x"})).await.status == 503 };
    wait_until(off).await;
    let shown = admin.get(&format!("{PROVIDERS}/local")).await.ok();
    assert_eq!(
        (&shown["enabled"], &shown["source"], &shown["version"]),
        (&json!(false), &json!("file"), &json!(1))
    );
    put(&running, "local", json!({"enabled": true})).await;
    wait_until(|| async {
        running.agent().post("/api/v1/embeddings", json!({"text": "x"})).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_health_check_makes_no_newcomer_the_founder_of_a_space() {
    let wrong = DeploymentSpec { seed: 9, ..DeploymentSpec::named("a-wrong") };
    let simulator = Simulator::start(&[wrong, DeploymentSpec::named("b-right")]).await.unwrap();
    let (wrong, right) = (&simulator.deployments()[0], &simulator.deployments()[1]);
    // nothing is recorded of the space before the first canary
    let sections = ["router: {canary_interval: 15m}", &security(simulator.deployments())];
    let running = Running::one(&yaml(&[entry(right, &[SMALL], "")], &sections)).await;
    let client = running.agent();
    let embed =
        async |text: &str| client.post("/api/v1/embeddings", unstored("a", text, Some(SMALL))).await.ok();
    assert_right(&embed("served alone").await, SMALL, "served alone");

    let admin = running.admin();
    assert_eq!(admin.post(PROVIDERS, wanted(wrong, SECRET)).await.status, 201);
    let check = format!("{PROVIDERS}/a-wrong/health-check");
    wait_until(|| async {
        let checked = admin.post(&check, json!({})).await;
        checked.status == 200 && !calls(&simulator, wrong).is_empty()
    })
    .await;
    for n in 0..40 {
        let text = format!("after the check {n}");
        let answer = embed(&text).await;
        assert_right(&answer, SMALL, &text);
        assert_eq!(answer["provider"], "b-right", "{answer}");
    }
}
