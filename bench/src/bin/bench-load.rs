//! The driver, and the upstream: starts the proxy, loads proxy and target in turn, prints one table.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use embermesh_bench::answers::MODEL;
use embermesh_bench::cpu;
use embermesh_bench::load::{Pace, Plan};
use embermesh_bench::process::Running;
use embermesh_bench::report::{Measured, PROXY, rows, table};
use embermesh_bench::upstream::answer_all;
use embermesh_bench::workload::{Case, Endpoint, Ids};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Core of whatever is measured.
const TARGET_CORE: usize = 0;
/// Core of the driver, the upstream, and the database that the target started: in service that has a machine of its own.
const DRIVER_CORE: usize = 1;

/// Load bench: requests/s, latency and server CPU per request, beside a byte-forwarding proxy.
#[derive(Parser)]
struct Arguments {
    /// Address for the upstream, for the target's configuration to name
    #[arg(long, default_value = "127.0.0.1:0")]
    upstream_listen: String,
    /// Base URL of the target, such as http://127.0.0.1:8081; without it only the proxy is measured
    #[arg(long)]
    target_url: Option<String>,
    /// Process id of a running target
    #[arg(long, requires = "target_url", conflicts_with = "spawn")]
    target_pid: Option<i32>,
    /// Shell command that starts the target; it finds the upstream's base URL in `$BENCH_UPSTREAM_URL`
    #[arg(long, requires = "target_url")]
    spawn: Option<String>,
    /// Path that answers 200 once a spawned target is ready
    #[arg(long, default_value = "/health/ready")]
    ready_path: String,
    /// What to call the target in the table
    #[arg(long, default_value = "embermesh")]
    target_name: String,
    /// Key for the target, sent as a Bearer token
    #[arg(long, env = "BENCH_API_KEY")]
    api_key: Option<String>,
    /// The `keys.json` of the target, read when it is ready
    #[arg(long, conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,
    /// Model to ask for
    #[arg(long, default_value = MODEL)]
    model: String,
    /// Path of the embeddings route
    #[arg(long, default_value = "/v1/embeddings")]
    path: String,
    /// Connections that are always busy
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests per second, the same for proxy and target; without it as many as the connections can
    #[arg(long)]
    rate: Option<u32>,
    /// Rounds per case and target; proxy and target take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured seconds per round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Warm-up seconds per round
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Only the cases whose name contains this, such as "1 float" or "miss"
    #[arg(long, default_value = "")]
    only: String,
    /// Write the table's rows as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

struct Target {
    name: String,
    endpoint: Endpoint,
    pid: i32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let pinned = cpu::can_pin();
    let target_core = pinned.then_some(TARGET_CORE);
    if pinned {
        cpu::pin(i32::try_from(std::process::id())?, DRIVER_CORE)?;
    } else {
        eprintln!(
            "bench-load: no taskset or a single core: driver and target share cores, figures are rough"
        );
    }

    let listener = TcpListener::bind(&arguments.upstream_listen).await?;
    let upstream = listener.local_addr()?.to_string();
    let mut beside = JoinSet::new();
    beside.spawn(answer_all(listener));
    if pinned {
        beside.spawn(stay_awake());
    }
    let mut running = Vec::new();
    let outcome = start_and_measure(arguments, &upstream, target_core, &mut running).await;
    // the target first, so that it can still reach its upstream while it drains
    for process in running.into_iter().rev() {
        process.stop().await;
    }
    report(arguments, &outcome?, pinned)
}

/// Keeps this thread from sleeping. To wake a sleeping core is billed to whoever writes to a socket, and on a virtual machine that is a quarter of
/// what an answer costs: a proxy that keeps driver and provider busy would not pay for it, a server that answers by itself would.
async fn stay_awake() -> io::Result<()> {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Leaves what it started in `running`, failed or not.
async fn start_and_measure(
    arguments: &Arguments,
    upstream: &str,
    target_core: Option<usize>,
    running: &mut Vec<Running>,
) -> Result<Vec<Measured>, Box<dyn Error>> {
    let forward = ["--upstream".to_owned(), upstream.to_owned()];
    let (process, authority) = Running::sibling("bench-proxy", &forward, target_core).await?;
    let mut targets = vec![Target {
        name: PROXY.to_owned(),
        endpoint: endpoint(authority, "/v1/embeddings", None, MODEL),
        pid: process.pid,
    }];
    running.push(process);

    if let Some(url) = &arguments.target_url {
        let authority = url.strip_prefix("http://").ok_or("give --target-url as http://host:port")?;
        let authority = authority.trim_end_matches('/').to_owned();
        let pid = match (&arguments.spawn, arguments.target_pid) {
            (Some(line), _) => {
                let environment = [("BENCH_UPSTREAM_URL", format!("http://{upstream}/v1"))];
                let ready = &arguments.ready_path;
                let process = Running::target(line, &environment, &authority, ready, target_core).await?;
                let pid = process.pid;
                running.push(process);
                if target_core.is_some() {
                    cpu::pin_children(pid, DRIVER_CORE)?;
                }
                pid
            }
            (None, Some(pid)) => {
                if let Some(core) = target_core {
                    cpu::pin(pid, core)?;
                }
                pid
            }
            (None, None) => return Err("give --target-pid or --spawn with --target-url".into()),
        };
        let key = match &arguments.api_key_file {
            Some(path) => Some(agent_key(&std::fs::read_to_string(path)?)?),
            None => arguments.api_key.clone(),
        };
        let endpoint = endpoint(authority, &arguments.path, key, &arguments.model);
        targets.push(Target { name: arguments.target_name.clone(), endpoint, pid });
    }
    measure(arguments, &targets).await
}

/// The key in the text of `keys.json`, as `embermesh up` writes it.
fn agent_key(text: &str) -> Result<String, Box<dyn Error>> {
    let keys: serde_json::Value = serde_json::from_str(text)?;
    Ok(keys["agent_key"].as_str().ok_or("the file has no agent_key")?.to_owned())
}

fn endpoint(authority: String, path: &str, api_key: Option<String>, model: &str) -> Endpoint {
    Endpoint { authority, path: path.to_owned(), api_key, model: model.to_owned() }
}

async fn measure(arguments: &Arguments, targets: &[Target]) -> Result<Vec<Measured>, Box<dyn Error>> {
    let pace = Pace {
        connections: arguments.connections,
        rate: arguments.rate,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
        measured: Duration::try_from_secs_f64(arguments.seconds)?,
    };
    let ids = Arc::new(Ids::new());
    let mut all = Vec::new();
    for case in Case::all().into_iter().filter(|case| case.name().contains(&arguments.only)) {
        eprintln!("bench-load: {}", case.name());
        let mut plans = Vec::new();
        for target in targets {
            let plan = Plan::prepare(case, target.endpoint.clone(), Arc::clone(&ids)).await?;
            plans.push((target, plan, Vec::new()));
        }
        for _ in 0..arguments.rounds {
            for (target, plan, rounds) in &mut plans {
                rounds.push(plan.measure(pace, target.pid).await?);
            }
        }
        all.extend(plans.into_iter().map(|(target, _, rounds)| Measured {
            case,
            target: target.name.clone(),
            rounds,
        }));
    }
    Ok(all)
}

fn report(arguments: &Arguments, measured: &[Measured], pinned: bool) -> Result<(), Box<dyn Error>> {
    let rows = rows(measured);
    let pace = arguments.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} requests/s"));
    let conditions = format!(
        "{} connections, {pace}, over loopback, 1536 dimensions, about 75 tokens per text; median of {} rounds of \
         {} s, proxy and target in turn; {}. The proxy has no cache, so its hits are forwarded like its misses.",
        arguments.connections,
        arguments.rounds,
        arguments.seconds,
        if pinned {
            "server on one core, driver and upstream on another, which never sleeps"
        } else {
            "cores not pinned"
        },
    );
    let text = format!("{}\n{conditions}\n", table(&rows));
    println!("{text}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, text)?;
    }
    Ok(())
}
