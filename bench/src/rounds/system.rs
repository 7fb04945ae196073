//! The system under test: `embermesh up` in one process, or the five services with a second router, in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use embermesh_loopback::free_port;
use embermesh_private_postgres::TestDatabase;
use embermesh_testing::sim::{Deployment, DeploymentSpec, SimError, Simulator};
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{MODEL, RoundError};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client with one of the first keys.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// Posts JSON; the status and the answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = self.http.post(format!("{}{path}", self.url)).header("x-api-key", &self.key).json(body);
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// The key, for clients of another kind.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// A running system; it ends with this.
#[derive(Debug)]
pub struct System {
    _processes: Vec<Child>,
    _folder: TempDir,
    _database: Option<TestDatabase>,
    /// Of each gateway.
    pub urls: Vec<String>,
    /// With the agent key, one for each gateway.
    pub agents: Vec<Client>,
    /// With the admin key.
    pub admin: Client,
}

impl System {
    /// One process from the binaries in `bin`, with this configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn one(bin: &Path, yaml: &str) -> Result<Self, RoundError> {
        let folder = TempDir::new()?;
        let config = folder.path().join("embermesh.yaml");
        std::fs::write(&config, yaml)?;
        let (port, data) = (free_port()?, folder.path().join("data"));
        let mut command = Command::new(bin.join("embermesh"));
        command.arg("up").arg("--config").arg(&config).arg("--data-dir").arg(&data);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        let process = start(command, &folder.path().join("embermesh.log"))?;
        Self::ready(vec![process], folder, None, &data, &[port], &[port]).await
    }

    /// Five processes, and a second router with a gateway of its own.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn with_two_routers(bin: &Path, yaml: &str) -> Result<Self, RoundError> {
        let folder = TempDir::new()?;
        let database = TestDatabase::create().await;
        let names = [
            "gateway",
            "provider-router",
            "cost-ledger",
            "vector-store",
            "admin",
            "provider-router",
            "gateway",
        ];
        let mut ports = Vec::new();
        for _ in names {
            ports.push(free_port()?);
        }
        let at = |n: usize| format!("http://127.0.0.1:{}", ports[n]);
        let (router, ledger, store, admin) = (at(1), at(2), at(3), at(4));
        let services = format!(
            "services: {{router: '{router}', ledger: '{ledger}', store: '{store}', admin: '{admin}'}}\n"
        );
        std::fs::write(folder.path().join("embermesh.yaml"), format!("{services}{yaml}"))?;
        let mut processes = Vec::new();
        for (n, (name, port)) in names.into_iter().zip(&ports).enumerate() {
            let data = folder.path().join(format!("{name}-{n}"));
            std::fs::create_dir(&data)?;
            let mut command = Command::new(bin.join(format!("embermesh-{name}")));
            command.arg("--config").arg(folder.path().join("embermesh.yaml"));
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
            command.env("EMBERMESH__DATA_DIR", &data).env("DATABASE_URL", database.url().expose_secret());
            if n == 6 {
                command.env("EMBERMESH__SERVICES__ROUTER", at(5));
            }
            processes.push(start(command, &data.with_extension("log"))?);
        }
        let keys = folder.path().join("admin-4");
        let gateways = [ports[0], ports[6]];
        Self::ready(processes, folder, Some(database), &keys, &ports, &gateways).await
    }

    async fn ready(
        mut processes: Vec<Child>,
        folder: TempDir,
        database: Option<TestDatabase>,
        keys: &Path,
        ports: &[u16],
        gateways: &[u16],
    ) -> Result<Self, RoundError> {
        let (until, keys) = (Instant::now() + PATIENCE, keys.join("keys.json"));
        while !(keys.is_file() && all_ready(ports).await) {
            for process in &mut processes {
                if let Some(ended) = process.try_wait()? {
                    return Err(
                        format!("a process of the system ended early, {ended}:\n{}", logs(&folder)).into()
                    );
                }
            }
            if Instant::now() > until {
                return Err(format!("the system is not ready after {PATIENCE:?}:\n{}", logs(&folder)).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let keys: Value = serde_json::from_slice(&std::fs::read(keys)?)?;
        let urls: Vec<String> = gateways.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let client = |url: &String, key: &str| {
            let key = keys[key].as_str().ok_or("the system wrote no such key")?.to_owned();
            Ok::<_, RoundError>(Client { http: http.clone(), url: url.clone(), key })
        };
        let agents: Result<Vec<Client>, RoundError> =
            urls.iter().map(|url| client(url, "agent_key")).collect();
        let admin = client(&urls[0], "admin_key")?;
        Ok(Self { _processes: processes, _folder: folder, _database: database, agents: agents?, admin, urls })
    }

    /// Closes every breaker and forgets every failure; waits until that has reached the routers.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn reset(&self) -> Result<(), RoundError> {
        let (status, body) =
            self.admin.post("/api/v1/admin/circuit-breaker/reset", &serde_json::json!({})).await?;
        if status != 200 {
            return Err(format!("the breakers cannot be reset: {status} {body}").into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// Deployments of these names that speak OpenAI's API.
///
/// # Errors
/// When they cannot listen.
pub async fn deployments(names: &[&str]) -> Result<Simulator, SimError> {
    let spec = |name: &&str| DeploymentSpec { record_bodies: false, ..DeploymentSpec::named(name) };
    Simulator::start(&names.iter().map(spec).collect::<Vec<_>>()).await
}

/// The configuration of a system on these deployments; `entry` ends each provider entry, `router` its block, `more` the file.
#[must_use]
pub fn yaml<'a>(
    deployments: impl IntoIterator<Item = &'a Deployment>,
    entry: &str,
    router: &str,
    more: &str,
) -> String {
    let mut yaml =
        "logging: {level: warn}\nembedding:\n  providers:\n    local: {enabled: false}\n".to_owned();
    for deployment in deployments {
        let (name, url) = (deployment.name(), deployment.base_url());
        yaml.push_str(&format!(
            "    {name}: {{kind: openai, base_url: '{url}', api_key: sk-rounds, models: [{MODEL}]{entry}}}\n"
        ));
    }
    format!("{yaml}  router: {{canary_interval: 0s{router}}}\n{more}")
}

fn start(mut command: Command, log: &Path) -> Result<Child, RoundError> {
    let out = std::fs::File::create(log)?;
    for name in ["REDIS_URL", "OPENAI_API_KEY", "EMBERMESH_DATA_DIR", "ENVIRONMENT"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
    command
        .spawn()
        .map_err(|error| format!("cannot start {command:?}: {error}; build it into the same folder").into())
}

async fn all_ready(ports: &[u16]) -> bool {
    for port in ports {
        match reqwest::get(format!("http://127.0.0.1:{port}/health/ready")).await {
            Ok(answer) if answer.status().is_success() => {}
            _ => return false,
        }
    }
    true
}

fn logs(folder: &TempDir) -> String {
    let Ok(files) = std::fs::read_dir(folder.path()) else { return String::new() };
    let logs: Vec<PathBuf> = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.iter().map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
