//! Serves simulated embedding providers to other processes until interrupted.
//!
//! Prints one JSON line on stdout once every address is bound.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use embermesh_testing::sim::{Api, Config, Deployment, DeploymentSpec, ModelSpec, Simulator};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

const MORE: &str = r#"Prints one JSON line on stdout once every address is bound:
  {"deployments": [{"name", "api", "address", "base_url", "control_url"}, …], "control": …}

Several deployments in one file (YAML or JSON), each field but the name optional:
  control: 127.0.0.1:7099            # /_sim/ on a port of its own, for when every deployment is down
  deployments:
    - name: east
      api: openai                    # or azure_openai, bedrock, vertex, gemini, voyage, cohere
      listen: 127.0.0.1:7001
      api_key: k                     # insisted on; without it nothing is checked
      models: [{name: tiny, dims: 8, family: f, allowed_dims: [4, 8], max_tokens: 512, asymmetric: true}]
      seed: 0                        # another one gives other vectors
      conditions: {latency: {kind: fixed, ms: 20}, limits: {rpm: 60, tpm: 100000}}
      record_bodies: true
    - name: frankfurt
      api: bedrock
      aws: {access_key_id: AKID, secret_access_key: secret, region: eu-central-1}
    - name: vertex
      api: vertex
      google: {project: p, region: us-central1}   # its key file: GET /_sim/google-key

The call log, on any port:
  curl localhost:7001/_sim/calls            curl -X DELETE localhost:7001/_sim/calls

Faults strike requests in order, conditions hold until changed; both go to the deployment named, or to that of the port:
  curl -X PUT localhost:7001/_sim/faults -d '{"deployment": "east", "faults": [
    {"fault": {"kind": "status", "status": 429, "retry_after": {"seconds": 2}}, "times": 3},
    {"fault": {"kind": "hang"}, "rate": 0.01}]}'
  curl -X PUT localhost:7099/_sim/faults -d '{"deployment": "east", "conditions": {"down": true}}'
  curl localhost:7001/_sim/faults

Kinds of faults:
  status {status, retry_after: {seconds | date | millis}, body}   quota_used_up   error_with_status200   truncated_json
  hang   delay {ms}   trickle {bytes, every_ms}   reset_before_read   reset_after_read   ignore_base64
  wrong_count   wrong_order   wrong_index   wrong_dims   not_a_number   zero_vector
Conditions:
  latency: {kind: fixed, ms} | {kind: uniform, min_ms, max_ms} | {kind: log_normal, p50_ms, p99_ms}
           | {kind: alternating, even_ms, odd_ms}
  limits: {rpm, tpm}   drift: a number   refuses_text: a marker   down: true"#;

/// Simulated embedding providers: exact wire formats, deterministic vectors, a call log, and faults on demand.
#[derive(Parser)]
#[command(after_help = MORE)]
struct Arguments {
    /// File that describes the deployments, instead of all other options
    #[arg(long, exclusive = true)]
    config: Option<PathBuf>,
    /// API to speak: openai, azure_openai, bedrock, vertex, gemini, voyage or cohere
    #[arg(long, default_value = "openai")]
    api: Api,
    /// Address of each deployment; give it more than once for more deployments
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Vec<SocketAddr>,
    /// Address of /_sim/ besides the deployments' own
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Name of each deployment, in the order of --listen; those left over are named sim-1, sim-2, …
    #[arg(long)]
    name: Vec<String>,
    /// Key to insist on; Bedrock and Vertex take theirs from --config
    #[arg(long)]
    api_key: Option<String>,
    /// Path before the API's own
    #[arg(long, default_value = "")]
    prefix: String,
    /// Model as NAME=DIMENSIONS instead of the API's usual ones; may be repeated
    #[arg(long, value_parser = parse_model)]
    model: Vec<ModelSpec>,
    /// Another seed gives other vectors under the same model names
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn parse_model(text: &str) -> Result<ModelSpec, String> {
    let (name, dims) = text.split_once('=').ok_or("write it as NAME=DIMENSIONS")?;
    match dims.parse() {
        Ok(dims) if dims > 0 => Ok(ModelSpec::new(name, dims, true)),
        _ => Err(format!("dimensions must be a whole number above 0, not {dims}")),
    }
}

impl Arguments {
    fn specs(&self) -> Vec<DeploymentSpec> {
        let name =
            |index: usize| self.name.get(index).cloned().unwrap_or_else(|| format!("sim-{}", index + 1));
        let spec = |(index, &listen): (usize, &SocketAddr)| {
            let usual = DeploymentSpec::of(self.api, &name(index));
            let models = if self.model.is_empty() { usual.models } else { self.model.clone() };
            let (prefix, api_key) = (self.prefix.clone(), self.api_key.clone());
            DeploymentSpec { listen, prefix, api_key, models, seed: self.seed, ..usual }
        };
        self.listen.iter().enumerate().map(spec).collect()
    }
}

#[derive(Serialize)]
struct Ready<'a> {
    deployments: Vec<Bound<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<SocketAddr>,
}

#[derive(Serialize)]
struct Bound<'a> {
    name: &'a str,
    api: Api,
    address: SocketAddr,
    base_url: String,
    control_url: String,
}

impl<'a> Bound<'a> {
    fn of(one: &'a Deployment) -> Self {
        Self {
            name: one.name(),
            api: one.spec().api,
            address: one.address(),
            base_url: one.base_url(),
            control_url: one.control_url(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embermesh-provider-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (specs, control) = match &arguments.config {
        Some(path) => {
            let config = Config::read(path)?;
            (config.deployments.into_iter().map(DeploymentSpec::from).collect(), config.control)
        }
        None => (arguments.specs(), arguments.control),
    };
    let mut sim = Simulator::start(&specs).await?;
    let control = match control {
        Some(address) => Some(sim.serve_control(address).await?),
        None => None,
    };
    announce(&sim, control)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    sim.stop().await;
    Ok(())
}

fn announce(sim: &Simulator, control: Option<SocketAddr>) -> Result<(), Box<dyn Error>> {
    let deployments = sim.deployments().iter().map(Bound::of).collect();
    let mut line = serde_json::to_vec(&Ready { deployments, control })?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}
