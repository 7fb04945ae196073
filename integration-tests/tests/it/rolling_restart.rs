//! Every process is restarted, one after another, while agents embed, store and search: two replicas of each service, and nobody notices.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc,
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
    running::{Process, SERVICES, all_ready, bin, free_port, service, wait_until},
    simulated::{QUIET, SMALL, entry, openai, yaml},
};

/// How long a process serves on once it is told to stop; who sends it requests looks more often.
const NOTICE: &str = "shutdown_notice: 500ms";
const LOOK: Duration = Duration::from_millis(50);
/// Requests that may be under way; beyond it the load waits, which is told.
const MOST: usize = 400;

/// What is asked for, by the environment: the figures of `make rolling`, or those of the suite.
struct Wanted {
    per_second: u64,
    requests: usize,
}

impl Wanted {
    fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        Self {
            per_second: number("EMBERMESH_ROLLING_RATE").unwrap_or(30),
            requests: usize::try_from(number("EMBERMESH_ROLLING_REQUESTS").unwrap_or(0)).unwrap(),
        }
    }
}

/// The gateways, and which of them take requests; what a balancer of Kubernetes or HAProxy is in front of them.
struct Balancer {
    http: reqwest::Client,
    gateways: Vec<String>,
    ready: Vec<AtomicBool>,
    turn: AtomicUsize,
    key: String,
}

impl Balancer {
    async fn look(&self) {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        loop {
            for (gateway, ready) in self.gateways.iter().zip(&self.ready) {
                let asked =
                    http.get(format!("{gateway}/health/ready")).timeout(Duration::from_secs(2)).send().await;
                ready.store(asked.is_ok_and(|answer| answer.status().is_success()), Ordering::Relaxed);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The answer's body, or why there is none.
    async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let chosen = (0..self.gateways.len()).map(|at| (turn + at) % self.gateways.len());
        let chosen = chosen
            .into_iter()
            .find(|at| self.ready[*at].load(Ordering::Relaxed))
            .ok_or("no gateway is ready")?;
        let request = self
            .http
            .post(format!("{}{path}", self.gateways[chosen]))
            .header("x-api-key", &self.key)
            .json(body);
        let answer = request.send().await.map_err(|error| format!("{path}: {error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{path}: {error:?}"))?;
        if status.is_success() {
            Ok(serde_json::from_str(&text).unwrap())
        } else {
            Err(format!("{path}: {status} {text}"))
        }
    }
}

/// What became of the load.
#[derive(Default)]
struct Tally {
    failed: Vec<String>,
    taken: BTreeMap<&'static str, Vec<Duration>>,
}

/// Embeds what is kept, embeds what is not, and searches, in turn; at a rate, whatever the answers take.
async fn load(
    balancer: Arc<Balancer>,
    per_second: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Tally {
    let (mut tally, mut under_way) = (Tally::default(), JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap());
    let note = |tally: &mut Tally, (kind, took, outcome): (&'static str, Duration, Result<Value, String>)| {
        tally.taken.entry(kind).or_default().push(took);
        if let Err(why) = outcome {
            tally.failed.push(why);
        }
    };
    for n in 0_usize.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        while let Some(ended) = under_way.try_join_next() {
            note(&mut tally, ended.unwrap());
        }
        if under_way.len() >= MOST {
            note(&mut tally, under_way.join_next().await.unwrap().unwrap());
        }
        let (balancer, done) = (Arc::clone(&balancer), Arc::clone(&done));
        under_way.spawn(async move {
            let text = format!("remember number {n}");
            let agent = format!("agent-{}", n % 5);
            let (kind, path, body) = match n % 4 {
                0 => ("stored", "/api/v1/embeddings", json!({"agent_id": agent, "text": text, "model": SMALL})),
                1 => {
                    let body = json!({"agent_id": agent, "text": text, "model": SMALL, "store": false});
                    ("embedded", "/api/v1/embeddings", body)
                }
                _ => {
                    let body = json!({"agent_id": agent, "query": format!("number {}", n % 97), "model": SMALL, "limit": 3});
                    ("searched", "/api/v1/embeddings/search", body)
                }
            };
            let begun = Instant::now();
            let outcome = balancer.post(path, &body).await;
            done.fetch_add(1, Ordering::Relaxed);
            (kind, begun.elapsed(), outcome)
        });
    }
    while let Some(ended) = under_way.join_next().await {
        note(&mut tally, ended.unwrap());
    }
    tally
}

/// Two of each service, with the ports that they listen on.
struct Fleet {
    members: Vec<(String, u16, Process)>,
}

impl Fleet {
    fn start(folder: &Path, yaml: &str, database: &str) -> (Self, Vec<String>) {
        let ports: Vec<[u16; 2]> = SERVICES.iter().map(|_| [free_port(), free_port()]).collect();
        let both = |at: usize| format!("http://127.0.0.1:{},127.0.0.1:{}", ports[at][0], ports[at][1]);
        let services = format!(
            "services: {{router: '{}', ledger: '{}', store: '{}', admin: '{}'}}\nserver: {{{NOTICE}}}\n",
            both(1),
            both(2),
            both(3),
            both(4)
        );
        std::fs::write(folder.join("embermesh.yaml"), format!("{services}{yaml}")).unwrap();
        // one key signs for all replicas of admin
        let key = folder.join("audit.key").display().to_string();
        let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &key]).output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
        let mut members = Vec::new();
        for (name, ports) in SERVICES.iter().zip(&ports) {
            for (replica, port) in (1..).zip(ports) {
                let environment = [("EMBERMESH__ADMIN__AUDIT_KEY_FILE", key.as_str())];
                let data = folder.join(format!("{name}-{replica}"));
                members.push((
                    (*name).to_owned(),
                    *port,
                    service(name, &data, *port, database, &environment),
                ));
            }
        }
        let gateways = ports[0].iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        (Self { members }, gateways)
    }

    async fn ready(&self) {
        let ports: Vec<u16> = self.members.iter().map(|(_, port, _)| *port).collect();
        wait_until(|| all_ready(&ports)).await;
    }

    /// Restarts a member as an operator's rollout does: told to stop, waited for, started again, waited for.
    async fn restart(&mut self, at: usize) -> Duration {
        let (name, port, process) = &mut self.members[at];
        let begun = Instant::now();
        process.signal("TERM");
        let status = loop {
            if let Some(status) = process.child.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "{name} ended with {status}: {}", process.log());
        process.spawn_again();
        let ports = [*port];
        wait_until(|| all_ready(&ports)).await;
        begun.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_everything_fails_no_request() {
    let wanted = Wanted::read();
    let simulator = openai(&["one", "two"]).await;
    let entries: Vec<String> = simulator.deployments().iter().map(|one| entry(one, &[SMALL], "")).collect();
    let (database, folder) = (TestDatabase::create().await, TempDir::new().unwrap());
    let url = database.url().expose_secret().to_owned();
    let (mut fleet, gateways) = Fleet::start(folder.path(), &yaml(&entries, &[QUIET]), &url);
    fleet.ready().await;
    let keys = [1, 2].map(|replica| folder.path().join(format!("admin-{replica}/keys.json")));
    let keys = keys.iter().find(|path| path.is_file()).expect("one replica of admin has made the first keys");
    let keys: Value = serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
    let ready = gateways.iter().map(|_| AtomicBool::new(true)).collect();
    let key = keys["agent_key"].as_str().unwrap().to_owned();
    let balancer =
        Arc::new(Balancer { http: reqwest::Client::new(), gateways, ready, turn: AtomicUsize::new(0), key });
    let mut tasks = JoinSet::new();
    let looking = Arc::clone(&balancer);
    tasks.spawn(async move { looking.look().await });
    wait_until(|| async {
        balancer
            .post("/api/v1/embeddings", &json!({"agent_id": "first", "text": "a", "model": SMALL}))
            .await
            .is_ok()
    })
    .await;

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut loads = JoinSet::new();
    loads.spawn(load(Arc::clone(&balancer), wanted.per_second, Arc::clone(&stop), Arc::clone(&done)));
    let (begun, mut restarts) = (Instant::now(), BTreeMap::<String, Vec<Duration>>::new());
    loop {
        for at in 0..fleet.members.len() {
            let took = fleet.restart(at).await;
            restarts.entry(fleet.members[at].0.clone()).or_default().push(took);
            // the next one goes when this one works again, as rollouts do
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if done.load(Ordering::Relaxed) >= wanted.requests {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let Tally { failed, taken } = loads.join_next().await.unwrap().unwrap();
    let over = begun.elapsed();
    let (count, restarted) = (done.load(Ordering::Relaxed), restarts.values().map(Vec::len).sum::<usize>());
    let table = table(count, restarted, over, &failed, taken, &restarts);
    println!("{table}");
    if let Some(path) = std::env::var_os("EMBERMESH_ROLLING_REPORT") {
        std::fs::write(path, table).unwrap();
    }
    assert!(failed.is_empty(), "{} of {count} failed: {:#?}", failed.len(), &failed[..failed.len().min(10)]);
    assert!(count > 100, "{count} requests are no load");
    for (_, _, process) in &mut fleet.members {
        process.kill();
    }
    let verify =
        Command::new(bin("embermesh-cost-ledger")).arg("verify").env("DATABASE_URL", &url).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

fn table(
    count: usize,
    restarted: usize,
    over: Duration,
    failed: &[String],
    taken: BTreeMap<&'static str, Vec<Duration>>,
    restarts: &BTreeMap<String, Vec<Duration>>,
) -> String {
    let mut table = format!(
        "{count} requests in {:.0} s, {:.0} a second; {restarted} restarts; {} failed.\n\n| request | count | p50 ms | p99 ms | longest ms |\n|---|---:|---:|---:|---:|\n",
        over.as_secs_f64(),
        count as f64 / over.as_secs_f64(),
        failed.len()
    );
    for (kind, mut taken) in taken {
        taken.sort_unstable();
        let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        table +=
            &format!("| {kind} | {} | {:.1} | {:.1} | {:.1} |\n", taken.len(), at(0.5), at(0.99), at(1.0));
    }
    table += "\n| service | restarts | longest s, from the signal until ready again |\n|---|---:|---:|\n";
    for (name, took) in restarts {
        let longest = took.iter().max().unwrap().as_secs_f64();
        table += &format!("| {name} | {} | {longest:.1} |\n", took.len());
    }
    table
}
