//! `embermesh up`: every service in one process, on a PostgreSQL of its own unless one is configured.

mod banner;
mod compose;
mod credential_keys;
mod database;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use embermesh_config::Config;
use embermesh_lifecycle::{Lifecycle, Outcome};
use embermesh_process::{Arguments, BoxError, Process, load};
use embermesh_telemetry::start_logs;
use tokio::time::{sleep, timeout};

pub use compose::{Composed, compose};
use database::Database;

use crate::{backups::scheduled::Scheduled, tools};

const DEFAULT_PORT: u16 = 8081;

/// The arguments of `embermesh up`.
#[derive(Debug, Clone, Args)]
pub struct UpArguments {
    /// Configuration file; default: embermesh.yaml in the current folder, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for the private database, keys and snapshots.
    #[arg(long, value_name = "DIR", env = "EMBERMESH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on; default 127.0.0.1:8081.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Folder of a PostgreSQL with pgvector, for the private database.
    #[arg(long, value_name = "DIR", env = "EMBERMESH_POSTGRES_DIR")]
    pub postgres_dir: Option<PathBuf>,
    /// Folder of the local model's weights.
    #[arg(long, value_name = "DIR", env = "EMBERMESH_MODEL_DIR")]
    pub model_dir: Option<PathBuf>,
    /// Print the effective configuration, secrets hidden, and exit.
    #[arg(long)]
    pub dump_config: bool,
}

/// Runs until a signal; the exit code says whether everything ended in order.
pub fn run(arguments: &UpArguments) -> ExitCode {
    match start(arguments) {
        Ok(code) => code,
        Err(error) => {
            let _unwritable = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &UpArguments) -> Result<ExitCode, BoxError> {
    let started = Instant::now();
    let config = configure(arguments)?;
    if arguments.dump_config {
        std::io::stdout().write_all(config.dump().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let log_levels = start_logs(&config.logging)?;
    let config = credential_keys::prepare(config)?;
    let runtime = embermesh_process::runtime()?;
    runtime.block_on(async {
        let mut config = config;
        let database = Database::prepare(&mut config, arguments.postgres_dir.clone()).await?;
        let traces = embermesh_process::start_traces(&config)?;
        let dir = config.data_dir.clone().unwrap_or_else(crate::data_dir::default);
        let (file, postgres) = (arguments.config.clone(), arguments.postgres_dir.clone());
        let scheduled = Scheduled::new(&config, file, dir, postgres)?;
        let (process, lifecycle) = Process::new(config, log_levels)?;
        process.tasks.spawn("backups", scheduled.run(process.clock.clone(), process.tasks.clone()));
        let served = serve(&process, lifecycle, started).await;
        traces.stop().await;
        // PostgreSQL goes last: what drains may still write
        let stopped = database.stop().await;
        let outcome = served?;
        stopped?;
        Ok(if outcome == Outcome::Drained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn serve(process: &Process, lifecycle: Lifecycle, started: Instant) -> Result<Outcome, BoxError> {
    let listener = process.bind(DEFAULT_PORT).await?;
    let dir = process.config.data_dir.clone().unwrap_or_else(crate::data_dir::default);
    let keys = dir.join("keys.json");
    let url = process.config.public_url();
    let composed = compose(process, &keys).await?;
    process.serve(listener, composed.app)?;
    process.serve_operations().await?;
    ready(process).await;
    let mut out = std::io::stdout().lock();
    // a closed stdout is no reason not to serve
    let _unwritable = banner::write(&mut out, &url, &keys, &composed.first, started.elapsed());
    drop(out);
    Ok(lifecycle.run().await?)
}

/// Waits until what is printed next is true; a part that is slow to be ready does not keep the others from serving.
async fn ready(process: &Process) {
    let every_condition = async {
        while !process.readiness.is_ready() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(Duration::from_secs(10), every_condition).await.is_err() {
        tracing::warn!(conditions = ?process.readiness.report(), "not ready yet");
    }
}

fn configure(arguments: &UpArguments) -> Result<Config, BoxError> {
    let arguments_of_all = Arguments {
        config: arguments.config.clone(),
        listen: arguments.listen,
        dump_config: arguments.dump_config,
    };
    let mut config = load(&arguments_of_all)?;
    let dir = arguments.data_dir.clone().or(config.data_dir.take()).unwrap_or_else(crate::data_dir::default);
    fs::create_dir_all(&dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    let dir = fs::canonicalize(&dir)?;
    let router = &mut config.embedding.router;
    let model_dir = arguments.model_dir.clone().or(router.local_model_dir.take());
    router.local_model_dir = model_dir.or_else(|| tools::find("minilm").filter(|dir| is_model(dir)));
    if router.local_model_dir.is_none() && config.embedding.providers.is_empty() {
        let hint =
            "warning: there is no provider and no local model; run scripts/setup.sh, or set OPENAI_API_KEY";
        let _unwritable = writeln!(std::io::stderr(), "{hint}");
    }
    config.data_dir = Some(dir);
    Ok(config)
}

fn is_model(dir: &Path) -> bool {
    dir.join("tokenizer.json").is_file()
}
