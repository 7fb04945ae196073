//! Starts the system: as one process, or as five.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use embermesh_private_postgres::TestDatabase;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::Client,
    secrets::{self, Secret},
};

/// How long a start may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A binary that was built with these tests, or of the folder that the environment names.
pub fn bin(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let beside = exe.ancestors().nth(2).unwrap().to_owned();
    let path = std::env::var_os("EMBERMESH_TEST_BINARIES").map_or(beside, PathBuf::from).join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `make test`, or `cargo build --workspace --bins`",
        path.display()
    );
    path
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub fn tools() -> PathBuf {
    std::env::var_os("EMBERMESH_TOOLS_DIR").map_or_else(|| root().join(".tools"), PathBuf::from)
}

pub fn free_port() -> u16 {
    embermesh_loopback::free_port().unwrap()
}

/// A process that dies with the test; its output is kept for the message of a failure.
pub struct Process {
    pub child: Child,
    command: Command,
    log: PathBuf,
}

impl Process {
    pub fn spawn(mut command: Command, log: PathBuf) -> Self {
        let out = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        // the environment of whoever runs the tests must not configure them
        for name in [
            "DATABASE_URL",
            "DATABASE_REPLICA_URLS",
            "REDIS_URL",
            "OPENAI_API_KEY",
            "EMBERMESH_DATA_DIR",
            "ENVIRONMENT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ] {
            if !command.get_envs().any(|(known, _)| known == name) {
                command.env_remove(name);
            }
        }
        let child = command.current_dir(root()).spawn().unwrap();
        Self { child, command, log }
    }

    /// Starts it once more, with the same arguments; its output goes on in the same file.
    pub fn spawn_again(&mut self) {
        self.kill();
        self.child = self.command.spawn().unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }

    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Sends a signal; a process that gets `STOP` hangs until it gets `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes of [`Running::five`], in their order.
pub const SERVICES: [&str; 5] = ["gateway", "provider-router", "cost-ledger", "vector-store", "admin"];

/// A running system and a client for each of its first keys.
pub struct Running {
    pub processes: Vec<Process>,
    pub url: String,
    pub keys: Value,
    /// Of the process that made the keys.
    pub dir: PathBuf,
    /// For queries past the API.
    pub database: Option<TestDatabase>,
    ports: Vec<u16>,
    secrets: Vec<Secret>,
    _folder: Option<TempDir>,
}

impl Running {
    /// `embermesh up` on a database of its own test server, with more configuration in YAML.
    pub async fn one(yaml: &str) -> Self {
        let database = TestDatabase::create().await;
        let folder = TempDir::new().unwrap();
        let mut running =
            Self::up(folder.path(), yaml, Some(database.url().expose_secret()), free_port()).await;
        running.database = Some(database);
        running._folder = Some(folder);
        running
    }

    /// `embermesh up` in `dir`, on its private PostgreSQL unless `database` says otherwise.
    pub async fn up(dir: &Path, yaml: &str, database: Option<&str>, port: u16) -> Self {
        let config = dir.join("embermesh.yaml");
        std::fs::write(&config, yaml).unwrap();
        let data = dir.join("data");
        let mut command = Command::new(bin("embermesh"));
        command.arg("up").arg("--config").arg(&config).arg("--data-dir").arg(&data);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.env("EMBERMESH_TOOLS_DIR", tools());
        if let Some(url) = database {
            command.env("DATABASE_URL", url);
        }
        let process = Process::spawn(command, dir.join("embermesh.log"));
        let mut running = Self::ready(vec![process], data, &[port]).await;
        running.secrets = secrets::known(yaml, database);
        running
    }

    /// The five services as five processes.
    pub async fn five(yaml: &str) -> Self {
        let database = TestDatabase::create().await;
        let folder = TempDir::new().unwrap();
        let ports: Vec<u16> = SERVICES.iter().map(|_| free_port()).collect();
        let services = format!(
            "services: {{router: 'http://127.0.0.1:{}', ledger: 'http://127.0.0.1:{}', store: 'http://127.0.0.1:{}', admin: 'http://127.0.0.1:{}'}}\n",
            ports[1], ports[2], ports[3], ports[4]
        );
        let config = folder.path().join("embermesh.yaml");
        let minilm = tools().join("minilm");
        let local = format!("embedding: {{router: {{local_model_dir: '{}'}}}}\n", minilm.display());
        let yaml = if yaml.is_empty() { local } else { yaml.to_owned() };
        let public = format!("server: {{public_url: 'http://127.0.0.1:{}'}}\n", ports[0]);
        std::fs::write(&config, format!("{services}{yaml}{public}")).unwrap();
        let mut processes = Vec::new();
        let mut admin_data = PathBuf::new();
        for (name, port) in SERVICES.iter().zip(&ports) {
            let data = folder.path().join(name);
            processes.push(service(name, &data, *port, database.url().expose_secret(), &[]));
            admin_data = data;
        }
        let mut running = Self::ready(processes, admin_data, &ports).await;
        running.secrets = secrets::known(&yaml, Some(database.url().expose_secret()));
        running.database = Some(database);
        running._folder = Some(folder);
        running
    }

    /// Waits until every port is ready; the first is the gateway's.
    async fn ready(mut processes: Vec<Process>, dir: PathBuf, ports: &[u16]) -> Self {
        let url = format!("http://127.0.0.1:{}", ports[0]);
        let until = Instant::now() + PATIENCE;
        let keys = dir.join("keys.json");
        while !(keys.is_file() && all_ready(ports).await) {
            for process in &mut processes {
                let ended = process.child.try_wait().unwrap();
                assert!(ended.is_none(), "a process ended early: {ended:?}\n{}", process.log());
            }
            let logs = || processes.iter().map(Process::log).collect::<Vec<_>>().join("\n---\n");
            assert!(Instant::now() < until, "not ready in time\n{}", logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let keys = serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
        let (secrets, ports) = (Vec::new(), ports.to_owned());
        Self { processes, url, keys, dir, database: None, ports, secrets, _folder: None }
    }

    /// The process of one of [`SERVICES`].
    pub fn process(&mut self, service: &str) -> &mut Process {
        let at = SERVICES.iter().position(|name| *name == service).unwrap();
        &mut self.processes[at]
    }

    /// Where one of [`SERVICES`] listens.
    pub fn port(&self, service: &str) -> u16 {
        self.ports[SERVICES.iter().position(|name| *name == service).unwrap()]
    }

    /// Starts one of [`SERVICES`] again, on the same port and folder, and waits until it is ready.
    pub async fn start_again(&mut self, service: &str) {
        self.start_again_at(SERVICES.iter().position(|name| *name == service).unwrap()).await;
    }

    /// The same, of any of the processes.
    pub async fn start_again_at(&mut self, at: usize) {
        self.processes[at].spawn_again();
        self.until_ready(at).await;
    }

    async fn until_ready(&mut self, at: usize) {
        let until = Instant::now() + PATIENCE;
        while !all_ready(&self.ports[at..=at]).await {
            let process = &mut self.processes[at];
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "a process ended early: {ended:?}\n{}", process.log());
            assert!(Instant::now() < until, "not ready in time\n{}", process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A second replica of the gateway of [`Running::five`]; its URL.
    pub async fn another_gateway(&mut self) -> String {
        self.another_gateway_with(&[]).await
    }

    /// The same, with more in its environment.
    pub async fn another_gateway_with(&mut self, environment: &[(&str, &str)]) -> String {
        let url = self.spawn("gateway", environment);
        self.until_ready(self.ports.len() - 1).await;
        url
    }

    /// A second store, and a gateway that knows this one only, with more in its environment; the gateway's URL.
    pub async fn another_way(&mut self, environment: &[(&str, &str)]) -> String {
        let first = self.ports.len();
        let store = self.spawn("vector-store", &[]);
        let mut of_gateway = vec![("EMBERMESH__SERVICES__STORE", store.as_str())];
        of_gateway.extend(environment);
        let url = self.spawn("gateway", &of_gateway);
        for at in first..self.ports.len() {
            self.until_ready(at).await;
        }
        url
    }

    /// A second router beside that of [`Running::five`], and a gateway that knows this one only; the gateway's URL.
    pub async fn another_pair(&mut self) -> String {
        self.another_pair_with(&[]).await
    }

    /// The same, with more in the router's environment.
    pub async fn another_pair_with(&mut self, environment: &[(&str, &str)]) -> String {
        self.pairs(1, environment).await.remove(0)
    }

    /// So many of [`Running::another_pair`], started together; their gateways' URLs.
    pub async fn more_pairs(&mut self, count: usize) -> Vec<String> {
        self.pairs(count, &[]).await
    }

    async fn pairs(&mut self, count: usize, environment: &[(&str, &str)]) -> Vec<String> {
        let first = self.ports.len();
        let mut urls = Vec::new();
        for _ in 0..count {
            let router = self.spawn("provider-router", environment);
            urls.push(self.spawn("gateway", &[("EMBERMESH__SERVICES__ROUTER", &router)]));
        }
        for at in first..self.ports.len() {
            self.until_ready(at).await;
        }
        urls
    }

    /// One more process of a service; the URL that it will listen on.
    fn spawn(&mut self, name: &str, environment: &[(&str, &str)]) -> String {
        let (port, data) = (free_port(), self.dir.with_file_name(format!("{name}-{}", self.ports.len())));
        let database = self.database.as_ref().unwrap().url().expose_secret();
        self.processes.push(service(name, &data, port, database, environment));
        self.ports.push(port);
        format!("http://127.0.0.1:{port}")
    }

    pub fn agent(&self) -> Client {
        Client::new(&self.url, self.keys["agent_key"].as_str().unwrap())
    }

    pub fn admin(&self) -> Client {
        Client::new(&self.url, self.keys["admin_key"].as_str().unwrap())
    }

    pub fn logs(&self) -> String {
        self.processes.iter().map(Process::log).collect::<Vec<_>>().join("\n")
    }

    /// A connection past the API, as the owner of the database.
    pub async fn sql(&self) -> tokio_postgres::Client {
        connect(self.database.as_ref().unwrap().url().expose_secret()).await
    }
}

impl Drop for Running {
    /// Nothing secret leaks: not into a log, a metric or an error that a client got.
    fn drop(&mut self) {
        let mut found = Vec::new();
        for port in &self.ports {
            let url = format!("http://127.0.0.1:{port}");
            found.extend(secrets::found(
                &format!("the metrics of {url}"),
                &secrets::metrics(*port),
                &self.secrets,
            ));
            found.extend(secrets::found(
                &format!("an error of {url}"),
                &secrets::errors(&url),
                &self.secrets,
            ));
        }
        for process in &mut self.processes {
            process.kill();
            let log = secrets::without_banner(&process.log(), &self.url);
            found.extend(secrets::found(&process.log.display().to_string(), &log, &self.secrets));
        }
        // whatever else has failed comes first
        if !std::thread::panicking() {
            assert!(found.is_empty(), "nothing secret may leak: {found:?}");
        }
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "lives as long as the test's client")]
    tokio::spawn(connection);
    client
}

/// One service as a process, with the configuration beside its folder.
pub fn service(name: &str, data: &Path, port: u16, database: &str, environment: &[(&str, &str)]) -> Process {
    std::fs::create_dir(data).unwrap();
    let mut command = Command::new(bin(&format!("embermesh-{name}")));
    command.arg("--config").arg(data.with_file_name("embermesh.yaml"));
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.env("EMBERMESH__DATA_DIR", data).env("DATABASE_URL", database);
    command.envs(environment.iter().copied());
    Process::spawn(command, data.with_extension("log"))
}

pub async fn all_ready(ports: &[u16]) -> bool {
    for port in ports {
        match reqwest::get(format!("http://127.0.0.1:{port}/health/ready")).await {
            Ok(answer) if answer.status().is_success() => {}
            _ => return false,
        }
    }
    true
}

/// Waits for what comes about in the background; how soon it does is no promise.
#[track_caller]
pub fn wait_until<F: Future<Output = bool>>(holds: impl Fn() -> F) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let until = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < until, "it did not come to hold: {caller}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
