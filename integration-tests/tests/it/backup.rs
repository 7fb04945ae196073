//! Backups and the way back, by the command line: everything is destroyed, and comes back; what was changed in a backup is found.

mod kinds;
mod point_in_time;
mod s3;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use embermesh_private_postgres::PrivatePostgres;
use embermesh_testing::sim::Simulator;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    books,
    client::Client,
    running::{Running, bin, connect, free_port, root, tools},
    simulated::{QUIET, SMALL, entry, openai, yaml},
};

/// A system on a PostgreSQL of its own, whose calls cost something, and that is backed up.
struct System {
    simulator: Simulator,
    folder: TempDir,
    running: Running,
    port: u16,
    config: String,
}

impl System {
    /// `more` is further configuration.
    async fn start(method: &str, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let simulator = openai(&["a-one"]).await;
        let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
        let storage = folder.path().join("backups");
        let config = format!(
            "{}backup: {{postgres: {{schedule: '0 2 * * *', retention: 30, method: {method}, storage: '{}', archive_timeout: 1}}{}}}\n{more}",
            yaml(&entries, &[QUIET]),
            storage.display(),
            if more.contains("redis:") {
                format!(
                    ", redis: {{schedule: '0 * * * *', retention: 7, method: bgsave, storage: '{}'}}",
                    storage.display()
                )
            } else {
                String::new()
            },
        );
        let port = free_port();
        let running = Running::up(folder.path(), &config, None, port).await;
        Self { simulator, folder, running, port, config }
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `embermesh …` with this system's configuration and data folder.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(bin("embermesh"));
        command.args(words).arg("--config").arg(self.folder.path().join("embermesh.yaml"));
        command.arg("--data-dir").arg(self.data());
        command.env("EMBERMESH_TOOLS_DIR", tools()).current_dir(root());
        for name in ["DATABASE_URL", "REDIS_URL", "EMBERMESH_URL", "EMBERMESH_ADMIN_KEY"] {
            command.env_remove(name);
        }
        command
    }

    fn cli(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command says that must succeed.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        said(words, &self.cli(words), true)
    }

    /// What a command says that must not.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        said(words, &self.cli(words), false)
    }

    async fn sql(&self) -> tokio_postgres::Client {
        let url = PrivatePostgres::running_url(&self.data().join("postgres"), "embeddings").unwrap();
        connect(url.expose_secret()).await
    }

    /// Stores texts that nobody has stored yet, and changes an agent.
    async fn work(&self, name: &str, count: usize) {
        let (agent, admin) = (self.running.agent(), self.running.admin());
        for n in 0..count {
            embed(&agent, &format!("{name} {n}")).await;
        }
        let body = json!({"constraints": {"max_cost_per_day": 100}});
        admin.put(&format!("/api/v1/embeddings/agents/{name}"), body).await.ok();
    }

    /// Everything is destroyed as by a machine that burns.
    fn destroy(&mut self) {
        let pid = std::fs::read_to_string(self.data().join("postgres/data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        self.running.processes[0].kill();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    async fn start_again(&mut self) {
        self.running = Running::up(self.folder.path(), &self.config, None, self.port).await;
    }
}

async fn embed(agent: &Client, text: &str) -> Value {
    let body = json!({"agent_id": "keeper", "text": text, "model": SMALL, "return_vector": false});
    agent.post("/api/v1/embeddings", body).await.ok()
}

#[track_caller]
fn said(words: &[&str], output: &Output, succeeds: bool) -> String {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), succeeds, "{words:?}: {said}");
    said
}

/// What must come back.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    rows: i64,
    attempts: i64,
    charged: i64,
    records: i64,
}

async fn held(sql: &tokio_postgres::Client) -> Held {
    let query = "SELECT (SELECT count(*) FROM store.embeddings), (SELECT count(*) FROM ledger.attempts),
        (SELECT coalesce(sum(amount_nano_usd), 0)::bigint FROM ledger.charges), (SELECT count(*) FROM admin.audit_records)";
    let row = sql.query_one(query, &[]).await.unwrap();
    Held { rows: row.get(0), attempts: row.get(1), charged: row.get(2), records: row.get(3) }
}

/// The only folder of a kind.
fn backup_of(storage: &Path, kind: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(storage)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{kind}-")))
        .collect();
    found.sort();
    found.pop().unwrap()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
