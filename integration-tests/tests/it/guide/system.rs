//! The live system that the guide's commands are run against, configured by the guide's own blocks.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use embermesh_cache::testing::TestRedis;
use embermesh_testing::sim::Simulator;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::book::Proof;
use crate::{
    api_requests,
    running::{Running, bin, tools, wait_until},
    simulated::{SMALL, entry, openai, unstored, yaml},
};

/// What a command printed.
pub struct Said {
    pub ok: bool,
    pub text: String,
}

impl Said {
    /// The command succeeded and printed this.
    pub fn proves(&self, how: &str, part: &str) -> Proof {
        Proof::run(how, self.ok && self.text.contains(part), &self.text)
    }
}

pub struct System {
    pub simulator: Simulator,
    pub redis: TestRedis,
    pub running: Running,
    pub folder: TempDir,
    /// What restoring its database said.
    pub restored: OnceLock<Said>,
}

impl System {
    pub async fn start() -> Self {
        let simulator = openai(&["openai", "spare"]).await;
        let rates = [
            ", timeout: 10s, rate_limit: {requests_per_minute: 3000, tokens_per_minute: 1000000}",
            ", timeout: 10s",
        ];
        let entries: Vec<String> = simulator
            .deployments()
            .iter()
            .zip(rates)
            .map(|(deployment, more)| entry(deployment, &[SMALL], more))
            .collect();
        let sections = [
            "circuit_breaker: {failure_threshold: 5, success_threshold: 3, timeout: 30s}",
            "router: {selection_strategy: smart, cache_ttl: 15m, canary_interval: 0s}",
            "security: {api_key_rotation: {enabled: true, rotation_period: 30d}, pii_detection: {enabled: true, redact_pii: true}}",
        ];
        let redis = TestRedis::start();
        let embeddings = "embeddings: {ttl: 900, max_memory: 4gb, eviction_policy: allkeys-lru}";
        let more = format!(
            "redis: {{url: '{}', cache_strategies: {{{embeddings}, provider_health: {{ttl: 30, max_entries: 100}}}}}}\n\
             store: {{redis: {{timeout_ms: 1000}}}}\nlogging: {{format: json}}\n\
             database: {{pool: {{max_open_conns: 100, max_idle_conns: 25, conn_max_lifetime: 30m, conn_max_idle_time: 10m}}}}\n",
            redis.url()
        );
        let running = Running::one(&format!("{}{more}", yaml(&entries, &sections))).await;
        let this =
            Self { simulator, redis, running, folder: TempDir::new().unwrap(), restored: OnceLock::new() };
        let agent = this.running.agent();
        for text in
            ["The ferry leaves at noon.", "Write to somebody@example.org.", "The ferry leaves at noon."]
        {
            let body = json!({"agent_id": "prod-agent", "text": text, "model": SMALL});
            agent.post("/api/v1/embeddings", body).await.ok();
        }
        let search = json!({"agent_id": "prod-agent", "query": "boats", "model": SMALL});
        agent.post("/api/v1/embeddings/search", search).await.ok();
        // what is looked at every few seconds
        let late = ["db_pool_connections{", "circuit_breaker_state{", "embedding_provider_health{"];
        wait_until(|| async { late.iter().all(|name| this.metrics().contains(name)) }).await;
        this
    }

    pub async fn embed(&self, text: &str) -> u16 {
        self.running
            .agent()
            .post("/api/v1/embeddings", unstored("prod-agent", text, Some(SMALL)))
            .await
            .status
    }

    fn admin_key(&self) -> &str {
        self.running.keys["admin_key"].as_str().unwrap()
    }

    /// A command of the guide in a shell: hosts, keys and ports are this system's, and so is the database.
    pub fn sh(&self, script: &str) -> Said {
        let redis_cli = format!("redis-cli -p {}", self.redis.endpoint().rsplit(':').next().unwrap());
        let script = script
            .replace("http://localhost:8081", &self.running.url)
            .replace("http://api.example.com", &self.running.url)
            .replace("X-API-Key: admin-key", &format!("X-API-Key: {}", self.admin_key()))
            .replace("-h $DB_HOST -U $DB_USER -d embeddings", "--no-psqlrc \"$DATABASE_URL\"")
            .replace("redis-cli", &redis_cli);
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.folder.path());
        let database = self.running.database.as_ref().unwrap();
        command.env("DATABASE_URL", database.url().expose_secret());
        self.said(&mut command)
    }

    /// The command line of Embermesh, as an operator.
    pub fn embermesh(&self, words: &[&str]) -> Said {
        self.said(Command::new(bin("embermesh")).args(words))
    }

    /// A command of `embermesh-vector-store` beside the running system.
    pub fn vector_store(&self, words: &[&str]) -> Said {
        let mut command = Command::new(bin("embermesh-vector-store"));
        let database = self.running.database.as_ref().unwrap();
        self.said(command.args(words).env("DATABASE_URL", database.url().expose_secret()))
    }

    fn said(&self, command: &mut Command) -> Said {
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = [tools().join("postgres/bin"), bin("embermesh").parent().unwrap().to_owned()];
        let programs: Vec<String> = programs.iter().map(|folder| folder.display().to_string()).collect();
        command
            .env("PATH", format!("{}:{path}", programs.join(":")))
            .env("ADMIN_KEY", self.admin_key())
            .env("EMBERMESH_URL", &self.running.url)
            .env("EMBERMESH_ADMIN_KEY", self.admin_key())
            .env("EMBERMESH_DATA_DIR", &self.running.dir)
            // people at psql as the owner name the schema by this; the operator's role has it already
            .env("PGOPTIONS", "-c search_path=store,ledger,admin,public");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// A `curl` of the guide without a key: as printed it is told which header it lacks; with one it is answered. Says whether
    /// `right` holds of that answer.
    pub fn curl(&self, line: &str, right: impl FnOnce(&Value) -> bool) -> Proof {
        let refused = self.sh(&format!("{line} --silent"));
        let named =
            refused.ok && refused.text.contains("unauthenticated") && refused.text.contains("X-API-Key");
        let answer = self.sh(&format!("{line} --silent -H \"X-API-Key: $ADMIN_KEY\""));
        let body = serde_json::from_str(&answer.text).unwrap_or_default();
        Proof::run(
            "by curl, without a key (401 names the header) and with one",
            named && answer.ok && right(&body),
            format!("{}\n{}", refused.text, answer.text),
        )
    }

    /// A query as printed, by psql as `embermesh_operator`; a line for each row.
    pub async fn psql(&self, query: &str) -> Vec<String> {
        api_requests::psql(&self.running, query).await
    }

    /// What the gateway answers at `/metrics`.
    pub fn metrics(&self) -> String {
        self.sh("curl --silent http://localhost:8081/metrics").text
    }
}

/// The effective configuration that a file and variables give.
pub fn dump(file: &str, variables: &[(&str, &str)]) -> Said {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("embermesh.yaml");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(bin("embermesh"));
    command.args(["up", "--dump-config", "--config"]).arg(&path).current_dir(folder.path());
    command.env_clear().env("HOME", folder.path()).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

impl Said {
    /// The value of a key of a dumped configuration: `embedding.router.cache_ttl`.
    pub fn setting(&self, path: &str) -> Option<&str> {
        let names: Vec<&str> = path.split('/').collect();
        let mut depth = 0;
        for line in self.text.lines() {
            let indent = (line.len() - line.trim_start().len()) / 2;
            if indent < depth {
                return None;
            }
            let Some((name, value)) = line.trim_start().split_once(':') else { continue };
            if indent == depth && name == names[depth] {
                depth += 1;
                if depth == names.len() {
                    return Some(value.trim());
                }
            }
        }
        None
    }

    /// Each key of a block is in force with its value.
    pub fn has(&self, settings: &[(&str, &str)]) -> Proof {
        let wrong: Vec<String> = settings
            .iter()
            .filter(|(path, value)| self.setting(path) != Some(*value))
            .map(|(path, value)| format!("{path} is {:?}, not {value}", self.setting(path)))
            .collect();
        let said = if self.ok { wrong.join(", ") } else { self.text.clone() };
        Proof::run("`--dump-config`", self.ok && wrong.is_empty(), said)
    }
}

/// Whether a redis-server that is started as the guide's stack does answers, and what it says of its appending.
pub fn redis_with_appending(folder: &Path) -> Proof {
    let port = crate::running::free_port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--appendonly", "yes", "--port", &port, "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--dir").arg(folder);
    let _server = crate::running::Process::spawn(command, folder.join("redis.log"));
    let mut said = String::new();
    for _ in 0..300 {
        let output =
            Command::new("redis-cli").args(["-p", &port, "CONFIG", "GET", "appendonly"]).output().unwrap();
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains("yes") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Proof::run("`redis-server --appendonly yes` is started and asked", said.contains("yes"), said)
}

#[test]
fn settings_are_found_by_their_path() {
    let text = "a:\n  b: 1\nc:\n  a:\n    b: 2\n    d: x\n  e: y\n";
    let said = Said { ok: true, text: text.to_owned() };
    assert_eq!(said.setting("a/b"), Some("1"));
    assert_eq!(said.setting("c/a/b"), Some("2"));
    assert_eq!(said.setting("c/e"), Some("y"));
    assert_eq!((said.setting("c/a/e"), said.setting("a/d")), (None, None));
}
