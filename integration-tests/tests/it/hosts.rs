//! Services on hosts of their own, with mutual TLS between them: every host is cut off once, without a word, while agents go on.
//!
//! Hosts are network namespaces on one bridge, so this needs root: `make hosts`.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_private_postgres::TestDatabase;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    relay::Relay,
    running::{Process, bin, wait_until},
    simulated::{QUIET, SMALL, openai, yaml},
};

/// Host, service, and the last number of its address.
const HOSTS: [(&str, &str, u8); 8] = [
    ("gateway-1", "gateway", 11),
    ("gateway-2", "gateway", 12),
    ("router-1", "provider-router", 21),
    ("router-2", "provider-router", 22),
    ("ledger", "cost-ledger", 31),
    ("store-1", "vector-store", 41),
    ("store-2", "vector-store", 42),
    ("admin", "admin", 51),
];
const NETWORK: &str = "10.77.0";
const BRIDGE: &str = "embr0";
const PORT: u16 = 8443;
const OPERATIONS: u16 = 9090;
/// Where requests may fail that were under way, or chose the host before anybody knew.
const NOTICED: Duration = Duration::from_secs(5);
/// How long a host is away.
const AWAY: Duration = Duration::from_secs(15);
/// Looks in a row that a gateway has to be found ready in before it gets requests again, as balancers have it.
const RISE: u32 = 15;
/// How long one request may take before its agent gives up.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn try_run(line: &str) {
    let mut words = line.split(' ');
    let _gone_already = Command::new(words.next().unwrap()).args(words).output();
}

fn address(number: u8) -> String {
    format!("{NETWORK}.{number}")
}

/// The bridge and the hosts at it.
struct Wires;

impl Wires {
    fn lay() -> Self {
        let wires = Self;
        wires.remove();
        run(&format!("ip link add {BRIDGE} type bridge"));
        run(&format!("ip addr add {NETWORK}.1/24 dev {BRIDGE}"));
        run(&format!("ip link set {BRIDGE} up"));
        for (host, _, number) in HOSTS {
            run(&format!("ip netns add em-{host}"));
            run(&format!("ip link add emv{number} type veth peer name eth0 netns em-{host}"));
            run(&format!("ip link set emv{number} master {BRIDGE} up"));
            run(&format!("ip -n em-{host} addr add {}/24 dev eth0", address(number)));
            run(&format!("ip -n em-{host} link set eth0 up"));
            run(&format!("ip -n em-{host} link set lo up"));
        }
        wires
    }

    /// Nothing that is sent arrives, in either direction, and nobody is told.
    fn cut(number: u8) {
        run(&format!("ip link set emv{number} nomaster"));
    }

    fn mend(number: u8) {
        run(&format!("ip link set emv{number} master {BRIDGE}"));
    }

    fn remove(&self) {
        for (host, _, number) in HOSTS {
            try_run(&format!("ip link del emv{number}"));
            try_run(&format!("ip netns del em-{host}"));
        }
        try_run(&format!("ip link del {BRIDGE}"));
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.remove();
    }
}

/// One authority, and one certificate that is good for every host.
fn certificates(folder: &Path) {
    let names: Vec<String> = HOSTS.iter().map(|(_, _, number)| format!("IP:{}", address(*number))).collect();
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(at("san"), format!("subjectAltName={}", names.join(","))).unwrap();
    for line in [
        format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout {} -out {}",
            at("ca.key"),
            at("ca.pem")
        ),
        format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=embermesh -keyout {} -out {}",
            at("host.key"),
            at("host.csr")
        ),
        format!(
            "openssl x509 -req -days 2 -in {} -CA {} -CAkey {} -CAcreateserial -extfile {} -out {}",
            at("host.csr"),
            at("ca.pem"),
            at("ca.key"),
            at("san"),
            at("host.pem")
        ),
    ] {
        run(&line);
    }
}

fn urls(service: &str) -> String {
    let of = HOSTS.iter().filter(|(_, name, _)| *name == service);
    let all: Vec<String> = of.map(|(_, _, number)| format!("{}:{PORT}", address(*number))).collect();
    format!("https://{}", all.join(","))
}

fn configuration(folder: &Path, providers: &str) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "services: {{router: '{}', ledger: '{}', store: '{}', admin: '{}'}}\nserver: {{tls: {{certificate: '{}', key: '{}', authority: '{}'}}}}\n{providers}",
        urls("provider-router"),
        urls("cost-ledger"),
        urls("vector-store"),
        urls("admin"),
        at("host.pem"),
        at("host.key"),
        at("ca.pem")
    )
}

fn start(folder: &Path, database: &str) -> Vec<Process> {
    HOSTS
        .iter()
        .map(|(host, service, number)| {
            let data = folder.join(host);
            std::fs::create_dir(&data).unwrap();
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &format!("em-{host}")]).arg(bin(&format!("embermesh-{service}")));
            command.arg("--config").arg(folder.join("embermesh.yaml"));
            command.arg("--listen").arg(format!("{}:{PORT}", address(*number)));
            command.env("EMBERMESH__DATA_DIR", &data).env("DATABASE_URL", database);
            command.env("EMBERMESH__SERVER__OPERATIONS", format!("{}:{OPERATIONS}", address(*number)));
            if *service == "gateway" {
                // what stands in front of it would end TLS for agents
                command.env("EMBERMESH__SERVER__TLS__CLIENTS", "plain");
            }
            Process::spawn(command, folder.join(format!("{host}.log")))
        })
        .collect()
}

async fn is_ready(http: &reqwest::Client, number: u8) -> bool {
    let url = format!("http://{}:{OPERATIONS}/health/ready", address(number));
    let asked = http.get(url).timeout(Duration::from_secs(1)).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

/// A request that failed, and when it was begun and ended.
#[derive(Debug, Clone)]
struct Failure {
    begun: Instant,
    ended: Instant,
    why: String,
}

/// Agents: what they were promised is kept, and what failed them.
struct Agents {
    http: reqwest::Client,
    key: String,
    /// Gateways that are ready, as whoever balances them knows.
    ready: [AtomicBool; 2],
    done: AtomicUsize,
    acknowledged: Mutex<Vec<String>>,
    failures: Mutex<Vec<Failure>>,
}

impl Agents {
    fn gateway(&self, turn: usize) -> String {
        let numbers: Vec<u8> = HOSTS[..2].iter().map(|(_, _, number)| *number).collect();
        let at = (0..2).map(|more| (turn + more) % 2).find(|at| self.ready[*at].load(Ordering::Relaxed));
        format!("http://{}:{PORT}", address(numbers[at.unwrap_or(turn % 2)]))
    }

    async fn watch_gateways(&self) {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let mut in_a_row = [RISE; 2];
        loop {
            for ((ready, (_, _, number)), looks) in self.ready.iter().zip(HOSTS).zip(&mut in_a_row) {
                *looks = if is_ready(&http, number).await { *looks + 1 } else { 0 };
                ready.store(*looks >= RISE, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn ask(&self, turn: usize, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.http.post(format!("{}{path}", self.gateway(turn))).header("x-api-key", &self.key);
        let answer =
            request.json(body).timeout(PATIENCE).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status.is_success() {
            Ok(serde_json::from_str(&text).unwrap())
        } else {
            Err(format!("{status} {text}"))
        }
    }

    /// One keeps what it embeds, then one searches.
    async fn work(&self, turn: usize) {
        let text = format!("what happened on turn {turn}");
        let (path, body) = if turn.is_multiple_of(2) {
            ("/api/v1/embeddings", json!({"agent_id": "a", "text": text, "model": SMALL}))
        } else {
            ("/api/v1/embeddings/search", json!({"agent_id": "a", "query": text, "model": SMALL, "limit": 2}))
        };
        let begun = Instant::now();
        match self.ask(turn / 2, path, &body).await {
            Ok(answer) => {
                if let Some(id) = answer["embedding_id"].as_str() {
                    self.acknowledged.lock().unwrap().push(id.to_owned());
                }
            }
            Err(why) => self.failures.lock().unwrap().push(Failure {
                begun,
                ended: Instant::now(),
                why: format!("{path}: {why}"),
            }),
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn load(agents: Arc<Agents>, stop: Arc<AtomicBool>) {
    let (mut ticks, mut under_way) = (tokio::time::interval(Duration::from_millis(25)), JoinSet::new());
    for turn in 0.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        while under_way.try_join_next().is_some() {}
        let agents = Arc::clone(&agents);
        under_way.spawn(async move { agents.work(turn).await });
    }
    under_way.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root for network namespaces: make hosts"]
async fn a_host_that_is_cut_off_loses_nothing_and_is_avoided_within_five_seconds() {
    let _wires = Wires::lay();
    let simulator = openai(&["one"]).await;
    let deployment = &simulator.deployments()[0];
    let port = deployment.origin().rsplit(':').next().unwrap().parse().unwrap();
    let relay = Relay::at(&format!("{NETWORK}.1"), port).await;
    let entry = format!(
        "one: {{kind: openai, base_url: 'http://{NETWORK}.1:{}/v1', api_key: sk-test, models: [{SMALL}]}}",
        relay.port()
    );
    let (database, folder) = (TestDatabase::create().await, TempDir::new().unwrap());
    certificates(folder.path());
    let yaml = configuration(folder.path(), &yaml(&[entry], &[QUIET]));
    std::fs::write(folder.path().join("embermesh.yaml"), yaml).unwrap();
    let mut processes = start(folder.path(), database.url().expose_secret());
    let http = reqwest::Client::new();
    for ((_, _, number), process) in HOSTS.iter().zip(&mut processes) {
        let process = Mutex::new(process);
        wait_until(|| async {
            let ended = process.lock().unwrap().child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", process.lock().unwrap().log());
            is_ready(&http, *number).await
        })
        .await;
    }
    // whoever has no certificate is not let in
    assert!(http.get(format!("{}/health/live", urls("admin"))).send().await.is_err());

    let keys = std::fs::read(folder.path().join("admin/keys.json")).unwrap();
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    let agents = Arc::new(Agents {
        http,
        key: keys["agent_key"].as_str().unwrap().to_owned(),
        ready: [AtomicBool::new(true), AtomicBool::new(true)],
        done: AtomicUsize::new(0),
        acknowledged: Mutex::default(),
        failures: Mutex::default(),
    });
    let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let watching = Arc::clone(&agents);
    tasks.spawn(async move { watching.watch_gateways().await });
    wait_until(|| async {
        agents
            .ask(0, "/api/v1/embeddings", &json!({"agent_id": "a", "text": "first", "model": SMALL}))
            .await
            .is_ok()
    })
    .await;
    let mut loads = JoinSet::new();
    loads.spawn(load(Arc::clone(&agents), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut cuts = BTreeMap::new();
    for (host, _, number) in HOSTS {
        Wires::cut(number);
        let at = Instant::now();
        tokio::time::sleep(AWAY).await;
        Wires::mend(number);
        let back = Instant::now();
        tokio::time::sleep(NOTICED).await;
        cuts.insert(host, (at, back, Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    loads.join_all().await;

    let failures = agents.failures.lock().unwrap().clone();
    let (done, acknowledged) =
        (agents.done.load(Ordering::Relaxed), agents.acknowledged.lock().unwrap().clone());
    let mut table = format!(
        "{done} requests, 40 a second; each host was away for {} s.\n\n| host cut off | failed that began in the first 5 s | failed later, while it was away | failed in the 5 s after it came back |\n|---|---:|---:|---:|\n",
        AWAY.as_secs()
    );
    let mut late = Vec::new();
    for (host, (at, back, until)) in &cuts {
        let of: Vec<&Failure> =
            failures.iter().filter(|failure| failure.ended >= *at && failure.ended < *until).collect();
        let (early, rest): (Vec<&Failure>, Vec<&Failure>) =
            of.into_iter().partition(|failure| failure.begun < *at + NOTICED);
        // its connections are made anew
        let (returning, after): (Vec<&Failure>, Vec<&Failure>) =
            rest.into_iter().partition(|failure| failure.ended >= *back);
        table += &format!("| {host} | {} | {} | {} |\n", early.len(), after.len(), returning.len());
        late.extend(
            after.into_iter().map(|failure| format!("{host}, {:?}: {}", failure.begun - *at, failure.why)),
        );
    }
    let mut lost = Vec::new();
    for id in &acknowledged {
        let url = format!("{}/api/v1/embeddings/{id}", agents.gateway(0));
        let found = agents.http.get(url).header("x-api-key", &agents.key).send().await.unwrap();
        if !found.status().is_success() {
            lost.push(format!("{id}: {}", found.status()));
        }
    }
    table += &format!("\n{} acknowledged rows, {} lost.\n", acknowledged.len(), lost.len());
    println!("{table}");
    if let Some(path) = std::env::var_os("EMBERMESH_HOSTS_REPORT") {
        std::fs::write(path, table).unwrap();
    }
    assert!(late.is_empty(), "{late:#?}");
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() > 100, "{} rows are no load", acknowledged.len());
}
