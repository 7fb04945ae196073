//! `embermesh doctor --bundle FILE`: what somebody who helps from afar asks for, in one archive. No secret is in it, and no text or
//! vector: neither is in what services tell of themselves.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use embermesh_config::{Config, Source};
use embermesh_types::Clock;
use flate2::{Compression, write::GzEncoder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{finding::Finding, mask::Mask};
use crate::client::{Client, Connection, Failure, Patience};

/// The folder that everything in the archive is in.
const FOLDER: &str = "embermesh-bundle";
/// For one answer of a service.
const PATIENCE: Duration = Duration::from_secs(10);

const README: &str = "\
What `embermesh doctor --bundle` found.

findings.json       what the doctor says, as `embermesh doctor --json`
versions.json       of this command, the server and the machine
configuration.yaml  what is in force where the command ran, secrets as ***
gateway/            the server of EMBERMESH_URL: health, metrics, providers, what was turned at run time
provider-router/, cost-ledger/, vector-store/, admin/
                    health and metrics of the services that the configuration names; error.txt where one did not answer,
                    as in `embermesh up`, where they are in the process of the gateway

Secrets are left out. Names are not: of agents, tenants, providers, models and hosts. Logs are not here: processes write them
to standard error, where whoever runs them keeps them (`journalctl`, `kubectl logs`, `docker logs`).
";

/// What goes into the archive, by path.
struct Bundle {
    files: Vec<(String, String)>,
    mask: Mask,
}

/// Gathers everything and writes it.
pub(super) async fn write(
    file: &Path,
    config: Option<&Path>,
    findings: &[Finding],
    server: Result<&Connection, &Failure>,
) -> Result<(), Failure> {
    let mut bundle = Bundle { files: Vec::new(), mask: Mask::new(std::env::vars_os()) };
    if let Ok(connection) = server {
        bundle.mask.hide(connection.key.expose_secret());
    }
    bundle.add("README.txt", README);
    bundle.add("findings.json", &pretty(&json!(findings)));
    let config = Config::load(&Source::process(config));
    match &config {
        Ok(config) => bundle.add("configuration.yaml", &config.dump()),
        Err(error) => bundle.add("configuration.error.txt", &format!("{error}\n")),
    }
    let version = bundle.gateway(server).await;
    bundle.add("versions.json", &pretty(&versions(version)));
    if let Ok(config) = &config {
        let services = &config.services;
        for (name, url) in [
            ("provider-router", &services.router),
            ("cost-ledger", &services.ledger),
            ("vector-store", &services.store),
            ("admin", &services.admin),
        ] {
            // the first of several replicas; the key is the gateway's, and nobody else's to see
            let url = url.split(',').next().unwrap_or_default().trim_end_matches('/').to_owned();
            bundle.service(name, &Connection { url, key: SecretString::from("") }).await;
        }
    }
    bundle.save(file)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn versions(server: Option<serde_json::Value>) -> serde_json::Value {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "made_at": humantime::format_rfc3339_seconds(Clock::system().now()).to_string(),
        "command": env!("CARGO_PKG_VERSION"),
        "server": server,
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "kernel": kernel.trim(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
    })
}

impl Bundle {
    /// A text that cannot be searched for secrets is left out.
    fn add(&mut self, path: &str, text: &str) {
        if let Some(text) = self.mask.over(text) {
            self.files.push((path.to_owned(), text));
        }
    }

    /// What the gateway tells; returns what it says of its version.
    async fn gateway(&mut self, server: Result<&Connection, &Failure>) -> Option<serde_json::Value> {
        let connection = match server {
            Ok(connection) => connection,
            Err(failure) => {
                self.add("gateway/error.txt", &format!("{failure}\n"));
                return None;
            }
        };
        let client = self.service("gateway", connection).await?;
        for (file, path) in [
            ("providers.json", "/api/v1/embeddings/providers/health"),
            ("settings.json", "/api/v1/admin/settings"),
        ] {
            self.ask("gateway", &client, file, path).await;
        }
        let version = look(&client, "/version").await.ok()?;
        serde_json::from_str(&version).ok()
    }

    /// Health and metrics of a service; its client, where it answers.
    async fn service(&mut self, name: &str, connection: &Connection) -> Option<Client> {
        let patience = Patience { total: Duration::ZERO, ..Patience::SHORT };
        let client = match Client::new(connection, patience) {
            Ok(client) => client,
            Err(failure) => {
                self.add(&format!("{name}/error.txt"), &format!("{failure}\n"));
                return None;
            }
        };
        if !self.ask(name, &client, "health.json", "/health/ready").await {
            return None;
        }
        self.ask(name, &client, "metrics.txt", "/metrics").await;
        Some(client)
    }

    /// Adds an answer, whatever its status is; whether there was one.
    async fn ask(&mut self, name: &str, client: &Client, file: &str, path: &str) -> bool {
        match look(client, path).await {
            Ok(text) => {
                self.add(&format!("{name}/{file}"), &text);
                true
            }
            Err(failure) => {
                self.add(&format!("{name}/error.txt"), &format!("{path}: {failure}\n"));
                false
            }
        }
    }

    /// Writes the archive, for its owner alone. One that is there stays.
    fn save(self, file: &Path) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::Usage(format!("{} cannot be written: {error}", file.display()));
        let now = Clock::system().now();
        let archive = archive(&self.files, now).map_err(failed)?;
        let mut open = OpenOptions::new();
        let mut out = open.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
        out.write_all(&archive).and_then(|()| out.sync_all()).map_err(failed)
    }
}

async fn look(client: &Client, path: &str) -> Result<String, Failure> {
    match tokio::time::timeout(PATIENCE, client.look(path)).await {
        Ok(answer) => Ok(String::from_utf8_lossy(&answer?).into_owned()),
        Err(_) => Err(Failure::Garbled(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn archive(files: &[(String, String)], now: SystemTime) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        archive.append_data(&mut header, format!("{FOLDER}/{path}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
