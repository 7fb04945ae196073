//! What every server binary does around its service: arguments, configuration, logs, metrics, one port, signals, exit code.

mod debug;
mod log_levels;
mod threads;

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use axum::Router;
use clap::Parser;
use embermesh_config::{Config, ConfigError, Source};
use embermesh_lifecycle::{Lifecycle, Readiness, Tasks};
use embermesh_proto::v1::debug_server::DebugServer;
use embermesh_subscription::{Options, Section, Subscription, Surroundings};
use embermesh_telemetry::{LogLevels, Metrics, Traces, start_logs};
use embermesh_transport::{GrpcMetrics, HttpLimits, Ops, Transport, serve};
use embermesh_types::Clock;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

pub use debug::DebugHandler;

/// An error of any part, on its way to the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The arguments of a service binary.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Arguments {
    /// Configuration file; default: embermesh.yaml in the current folder, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on, such as 0.0.0.0:8081.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Print the effective configuration, secrets hidden, and exit.
    #[arg(long)]
    pub dump_config: bool,
}

/// What a service is built from.
#[derive(Debug, Clone)]
pub struct Process {
    /// Everything that is configured.
    pub config: Config,
    /// For background tasks.
    pub tasks: Tasks,
    /// For what has to be ready.
    pub readiness: Readiness,
    /// For metric handles.
    pub metrics: Metrics,
    /// For the calls that are served.
    pub grpc_metrics: GrpcMetrics,
    /// Time.
    pub clock: Clock,
    log_levels: LogLevels,
}

impl Process {
    /// A process with this configuration, whose logs were started, and its lifecycle.
    pub fn new(config: Config, log_levels: LogLevels) -> Result<(Self, Lifecycle), prometheus::Error> {
        let lifecycle = Lifecycle::new(config.server.shutdown_notice.0, config.server.shutdown_grace.0);
        let metrics = Metrics::default();
        let grpc_metrics = GrpcMetrics::new(&metrics)?;
        let (tasks, readiness) = (lifecycle.tasks.clone(), lifecycle.readiness.clone());
        let clock = Clock::system();
        let process = Self { config, tasks, readiness, metrics, grpc_metrics, clock, log_levels };
        Ok((process, lifecycle))
    }

    /// Follows what is turned at run time and concerns every process: the levels of its log. Once for a process.
    pub fn follow_settings(&self, admin: Transport) {
        let options = Options {
            subscriber: "process",
            condition: None,
            sections: vec![Section::Settings],
            disk_copy: self.config.data_dir.as_ref().map(|dir| dir.join("process.snapshot")),
        };
        let subscription = Subscription::start(admin, options, &self.surroundings());
        let follow = log_levels::follow(self.log_levels.clone(), subscription, self.tasks.clone());
        self.tasks.spawn("log levels", follow);
    }

    /// What this process is busy with, for its port.
    pub fn debug_server(&self) -> DebugServer<DebugHandler> {
        DebugServer::new(DebugHandler::new(self.tasks.clone()))
    }

    /// What its subscriptions to the configuration need.
    pub const fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { tasks: &self.tasks, readiness: &self.readiness, metrics: &self.metrics }
    }

    /// Binds the configured address, or `port` on loopback.
    pub async fn bind(&self, port: u16) -> Result<TcpListener, BoxError> {
        listen(self.config.server.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into())).await
    }

    /// Serves health and metrics on a port of their own, where one is configured. Not before the service is built: its conditions would
    /// not be there yet, and it would look ready.
    pub async fn serve_operations(&self) -> Result<(), BoxError> {
        let Some(address) = self.config.server.operations else { return Ok(()) };
        let listener = listen(address).await?;
        let ops = Ops { readiness: self.readiness.clone(), metrics: self.metrics.clone() };
        let router = ops.router();
        tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
        let serving = serve(listener, router, None, HttpLimits::default(), self.tasks.clone());
        self.tasks.spawn("accept operations", serving);
        Ok(())
    }

    /// Serves `router` on `listener` until the process stops.
    pub fn serve(&self, listener: TcpListener, router: Router) -> Result<(), BoxError> {
        let tls = self.config.server.tls.as_ref().map(|tls| tls.acceptor()).transpose()?.flatten();
        let limits = self.config.server.limits.clone();
        self.tasks.spawn("accept", serve(listener, router, tls, limits, self.tasks.clone()));
        Ok(())
    }
}

/// The runtime of a server, by the cores that it may use.
pub fn runtime() -> std::io::Result<Runtime> {
    // with one core there is nobody to share work with, and a scheduler that could is the slower one
    let lone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if lone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BoxError> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Sends traces where the configuration says, under the name of this binary.
///
/// # Errors
/// When that is nowhere.
pub fn start_traces(config: &Config) -> Result<Traces, BoxError> {
    let name = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let service = name.unwrap_or_else(|| "embermesh".to_owned());
    Traces::start(&config.tracing, &service).map_err(|error| format!("tracing.endpoint: {error}").into())
}

/// Reads the configuration that the arguments name.
pub fn load(arguments: &Arguments) -> Result<Config, ConfigError> {
    let mut config = Config::load(&Source::process(arguments.config.as_deref()))?;
    if let Some(listen) = arguments.listen {
        config.server.listen = Some(listen);
    }
    Ok(config)
}

/// Runs a service binary: `build` makes the router that is served on the configured address, or on loopback's `port`.
pub fn run<B>(port: u16, build: B) -> ExitCode
where
    B: AsyncFnOnce(&Process) -> Result<Router, BoxError>,
{
    run_with(&Arguments::parse(), port, build)
}

/// As [`run`], for a binary that has read its arguments itself.
pub fn run_with<B>(arguments: &Arguments, port: u16, build: B) -> ExitCode
where
    B: AsyncFnOnce(&Process) -> Result<Router, BoxError>,
{
    let outcome = start(arguments, port, build);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // logging may be what failed
            let _unwritable = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start<B>(arguments: &Arguments, port: u16, build: B) -> Result<(), BoxError>
where
    B: AsyncFnOnce(&Process) -> Result<Router, BoxError>,
{
    let config = load(arguments)?;
    if arguments.dump_config {
        std::io::stdout().write_all(config.dump().as_bytes())?;
        return Ok(());
    }
    let log_levels = start_logs(&config.logging)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let traces = start_traces(&config)?;
        let (process, lifecycle) = Process::new(config, log_levels)?;
        let listener = process.bind(port).await?;
        let address = listener.local_addr()?;
        let router = build(&process).await?;
        process.serve(listener, router)?;
        process.serve_operations().await?;
        tracing::info!(%address, "serving");
        let outcome = lifecycle.run().await?;
        traces.stop().await;
        tracing::info!(?outcome, "stopped");
        Ok(())
    })
}
