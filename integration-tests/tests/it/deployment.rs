//! What is deployed: the chart, the kustomizations, images, rules and dashboards. The checks are scripts of `deployment/`, because what
//! reads manifests is written in Python; here they meet the real binaries.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use embermesh_private_postgres::TestDatabase;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    running::{Running, bin, free_port, tools, wait_until},
    secrets,
};

/// Runs a script of `deployment/`; what it could not check is said even where everything passes.
fn check(script: &str, arguments: &[&Path]) {
    let python = tools().join("python/bin/python");
    assert!(python.is_file(), "Python for manifests is missing: run scripts/setup.sh --tests");
    let output = Command::new(python)
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/deployment").join(script))
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("checked"), "the script did not get to its end: {said}");
    for line in said.lines().filter(|line| line.starts_with("SKIPPED")) {
        // past the test harness, which shows the output of failures alone
        #[expect(
            clippy::explicit_write,
            reason = "the harness hides what a test that passes prints by macros"
        )]
        writeln!(std::io::stderr(), "deployment/{script}: {line}").unwrap();
    }
}

fn binaries() -> PathBuf {
    bin("embermesh").parent().unwrap().to_owned()
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    check("manifests.py", &[]);
}

#[test]
fn policies_allow_the_arrows_and_no_others() {
    check("network.py", &[]);
}

#[test]
fn services_read_what_is_deployed() {
    check("configuration.py", &[&binaries()]);
}

#[test]
fn images_hold_what_a_service_needs() {
    check("images.py", &[&binaries()]);
}

#[tokio::test]
async fn alerts_and_panels_ask_for_what_there_is() {
    let running = Running::five("").await;
    let (agent, admin) = (running.agent(), running.admin());
    for text in ["The ferry leaves at noon.", "Write to me@example.com.", "The ferry leaves at noon."] {
        agent.post("/api/v1/embeddings", json!({"agent_id": "panel", "text": text})).await.ok();
    }
    agent.post("/api/v1/embeddings/search", json!({"agent_id": "panel", "query": "boats"})).await.ok();
    let budget = json!({"constraints": {"max_cost_per_day": 2.5}, "pii": {"action": "redact"}});
    admin.send(reqwest::Method::PUT, "/api/v1/embeddings/agents/panel", budget.to_string()).await.ok();
    let scrape = || {
        let of = |service: &&str| secrets::metrics(running.port(service));
        crate::running::SERVICES.iter().map(of).collect::<String>()
    };
    // what gateway and ledger show is asked for every few seconds
    let late = ["embedding_provider_health{", "circuit_breaker_state{", "pii_detections_total{"];
    wait_until(|| async { late.iter().all(|name| scrape().contains(name)) }).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), scrape()).unwrap();
    check("alerts_and_panels.py", &[file.path()]);
}

#[tokio::test]
async fn health_and_metrics_have_a_port_of_their_own_where_one_is_configured() {
    let port = free_port();
    let running = Running::one(&format!("server: {{operations: '127.0.0.1:{port}'}}\n")).await;
    let get = async |path: &str| reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.unwrap();
    wait_until(|| async { get("/health/ready").await.status() == 200 }).await;
    assert_eq!(get("/health/live").await.status(), 200);
    let metrics = get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("config_version{"), "{metrics}");
    for path in ["/v1/models", "/api/v1/embeddings", "/openapi.json"] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
    running.agent().get("/v1/models").await.ok();
}

#[tokio::test]
async fn schemas_are_migrated_ahead_of_their_services() {
    let database = TestDatabase::create().await;
    let migrate = || {
        let mut command = Command::new(bin("embermesh"));
        command.args(["database", "migrate"]).env("DATABASE_URL", database.url().expose_secret());
        let output = command.current_dir(std::env::temp_dir()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let first = migrate();
    for line in ["admin: V1__control_plane", "ledger: V1__books", "store: V1__store"] {
        assert!(first.contains(line), "{first}");
    }
    let again = migrate();
    for schema in ["admin", "ledger", "store"] {
        assert!(again.contains(&format!("{schema}: up to date")), "{again}");
    }
    let nowhere = Command::new(bin("embermesh"))
        .args(["database", "migrate"])
        .env_remove("DATABASE_URL")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("set DATABASE_URL"));
}
