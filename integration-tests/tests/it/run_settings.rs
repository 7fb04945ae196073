//! What operators turn at run time takes effect in running processes, and in those that start later; nothing is restarted for it.

use std::{process::Command, time::Duration};

use embermesh_testing::sim::Fault;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    running::{Running, bin, wait_until},
    simulated::{QUIET, SMALL, system, unstored},
};

const SETTINGS: &str = "/api/v1/admin/settings";
/// Written at the level debug by everything that follows the configuration.
const DEBUG_LINE: &str = "configuration changed";
/// Written at the level info, each time that the levels may have changed.
const TURNED: &str = "log levels turned by an operator";

async fn patch(client: &Client, body: Value) -> Answer {
    client.send(Method::PATCH, SETTINGS, body.to_string()).await
}

/// The lines of each process that say `what`.
fn lines(running: &Running, what: &str) -> Vec<usize> {
    running.processes.iter().map(|process| process.log().matches(what).count()).collect()
}

/// Waits until every process has followed the settings to their last change.
async fn followed(running: &Running, settings: &Value) {
    let version = settings["version"].as_u64().unwrap() as usize;
    wait_until(|| async { lines(running, TURNED).iter().all(|turned| *turned >= version) }).await;
}

#[tokio::test]
async fn the_log_level_of_five_processes_is_turned_and_outlives_a_restart_without_admin() {
    let mut running = Running::five("").await;
    let admin = running.admin();
    let first = admin.get(SETTINGS).await.ok();
    assert_eq!((&first["version"], &first["logging"]["level"]), (&json!(0), &json!("info")), "{first}");
    let quiet = patch(&admin, json!({"cache": {"ttl": "20m"}})).await.ok();
    followed(&running, &quiet).await;
    assert_eq!(lines(&running, DEBUG_LINE), [0; 5]);

    let debug = patch(&admin, json!({"logging": {"level": "debug"}})).await.ok();
    assert_eq!(debug["sources"]["logging.level"], "api", "{debug}");
    followed(&running, &debug).await;
    patch(&admin, json!({"cache": {"ttl": "10m"}})).await.ok();
    wait_until(|| async { lines(&running, DEBUG_LINE).iter().all(|seen| *seen > 0) }).await;

    // whoever starts while admin is away goes by what was turned last
    let copy = running.dir.with_file_name("vector-store").join("process.snapshot");
    let saved = || std::fs::read(&copy).unwrap_or_default().windows(3).any(|window| window == b"10m");
    wait_until(|| async { saved() }).await;
    running.process("admin").kill();
    let before = running.process("vector-store").log().matches(TURNED).count();
    running.start_again("vector-store").await;
    let restarted = &running.processes[3];
    wait_until(|| async { restarted.log().matches(TURNED).count() > before }).await;
    let log = restarted.log();
    let (_, since) = log.rsplit_once("starting from the saved configuration").unwrap();
    assert!(since.contains("debug"), "{since}");
    running.start_again("admin").await;

    // and back to the file's
    let running = &running;
    let (admin, turned) = (running.admin(), lines(running, TURNED)[0]);
    let gateway_follows =
        |times: usize| wait_until(move || async move { lines(running, TURNED)[0] >= turned + times });
    let cleared = json!({"clear": ["logging"]});
    wait_until(|| async { patch(&admin, cleared.clone()).await.status == 200 }).await;
    gateway_follows(1).await;
    let in_force = admin.get(SETTINGS).await.ok();
    assert_eq!(in_force["sources"]["logging.level"], "file", "{in_force}");
    let quiet_from = lines(running, DEBUG_LINE)[0];
    patch(&admin, json!({"cache": {"ttl": "30m"}})).await.ok();
    gateway_follows(2).await;
    assert_eq!(lines(running, DEBUG_LINE)[0], quiet_from, "{}", running.processes[0].log());
}

#[tokio::test]
async fn the_age_of_cached_vectors_and_emergency_caching_are_turned() {
    let (simulator, running) = system(&["only"], &[SMALL], &[QUIET]).await;
    let (admin, client) = (running.admin(), running.agent());
    let briefly = json!({"cache": {"ttl": "1s"}});
    admin.put("/api/v1/embeddings/agents/brief", briefly).await.ok();
    let embed = async |agent: &str| {
        client.post("/api/v1/embeddings", unstored(agent, "the same text", Some(SMALL))).await.ok()
    };
    let is_cached = async |agent: &str| embed(agent).await["cached"] == json!(true);
    assert!(!is_cached("steady").await);
    assert!(is_cached("steady").await);

    // what is older than the operator allows is asked for again
    patch(&admin, json!({"cache": {"ttl": "1s"}})).await.ok();
    wait_until(|| async {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        !is_cached("steady").await
    })
    .await;
    // in an emergency whatever is there is served, also to an agent that would have it fresher, and though nobody could make it anew
    patch(&admin, json!({"cache": {"emergency": true}})).await.ok();
    wait_until(|| async {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        is_cached("steady").await
    })
    .await;
    simulator.deployments()[0].inject([Fault::status(503).forever()]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    simulator.clear_calls();
    for agent in ["steady", "brief"] {
        assert!(is_cached(agent).await, "{agent}");
    }
    assert_eq!(simulator.calls().len(), 0);
    simulator.deployments()[0].heal();
    let cleared = patch(&admin, json!({"clear": ["cache.emergency"]})).await.ok();
    assert_eq!((&cleared["cache"]["emergency"], &cleared["cache"]["ttl"]), (&json!(false), &json!("1s")));
    wait_until(|| async {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        !is_cached("brief").await
    })
    .await;
}

#[tokio::test]
async fn the_thresholds_of_breakers_are_turned() {
    let (simulator, running) = system(&["only"], &[SMALL], &[QUIET]).await;
    let (admin, client) = (running.admin(), running.agent());
    // nothing opens it any more
    let patient = json!({"circuit_breaker": {"failure_threshold": 10_000, "minimum_calls": 1_000_000}});
    patch(&admin, patient).await.ok();
    turned(&running, 1).await;
    simulator.deployments()[0].inject([Fault::status(503).forever()]);
    let state = async || {
        let health = client.get("/api/v1/embeddings/providers/health").await.ok();
        text(&health["providers"]["only"]["circuit_breaker_state"])
    };
    let fail = async |n: u32| {
        let failing =
            client.post("/api/v1/embeddings", unstored("steady", &format!("text {n}"), Some(SMALL)));
        assert_ne!(failing.await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for n in 0..20 {
        fail(n).await;
    }
    assert_eq!(state().await, "closed", "twenty failures in a row, over a second");
    // and from now on a few do
    let strict = json!({"circuit_breaker": {"failure_threshold": 3, "timeout": "1h"}});
    patch(&admin, strict).await.ok();
    turned(&running, 2).await;
    for n in 20..24 {
        fail(n).await;
    }
    assert_eq!(state().await, "open");
}

/// Waits until the router has followed the settings to this version.
async fn turned(running: &Running, version: usize) {
    wait_until(|| async { running.logs().matches(" turned by an operator ttl").count() >= version }).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words_and_the_command_line_says_what_is() {
    let running = Running::one("").await;
    let admin = running.admin();
    for (body, param) in [
        (json!({"circuit_breaker": {"failure_threshold": 0}}), "circuit_breaker.failure_threshold"),
        (json!({"cache": {"ttl": "forever"}}), "cache.ttl"),
        (json!({"logging": {"components": {"embedding.rooter": "debug"}}}), "logging.components"),
        (json!({"clear": ["cache.time"]}), "clear"),
    ] {
        let answer = patch(&admin, body).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.body["error"]["param"], param, "{}", answer.body);
    }
    for unknown in [json!({"cache": {"tll": "1h"}}), json!({"providers": {}}), json!([])] {
        patch(&admin, unknown).await.refused(400, "invalid_request");
    }
    let stale = patch(&admin, json!({"version": 7})).await;
    stale.refused(409, "conflict");
    patch(&running.agent(), json!({})).await.refused(403, "forbidden");

    let settings = |arguments: &[&str]| {
        let mut command = Command::new(bin("embermesh"));
        command.arg("settings").args(arguments).env("EMBERMESH_DATA_DIR", &running.dir);
        command.env_remove("EMBERMESH_URL").env_remove("EMBERMESH_ADMIN_KEY");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = settings(&["set", "logging.components.embedding.router=debug", "cache.ttl=1h"]);
    assert!(code == 0 && said.contains("version 1"), "{code} {said}");
    let (code, said) = settings(&["show"]);
    let line = said.lines().find(|line| line.starts_with("logging.components.embedding.router")).unwrap();
    assert_eq!((code, line.split_whitespace().skip(1).collect::<Vec<_>>()), (0, vec!["debug", "api"]));
    let (code, said) = settings(&["set", "cache.ttl=9d"]);
    assert!(code == 4 && said.contains("7d"), "{code} {said}");
    let (code, said) = settings(&["clear", "logging", "cache", "--if-version", "1"]);
    assert!(code == 0 && !said.contains(" api"), "{code} {said}");
    assert_eq!(settings(&["clear", "logging", "--if-version", "1"]).0, 4);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
