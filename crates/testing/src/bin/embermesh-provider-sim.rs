//! Serves simulated embedding providers to other processes until interrupted.
//!
//! Prints one JSON line on stdout once every address is bound.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use embermesh_testing::sim::{DeploymentSpec, ModelSpec, Simulator};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// A simulated embedding provider in OpenAI's wire format, with a call log and faults below /_sim/.
#[derive(Parser)]
struct Arguments {
    /// Address of each deployment; give it more than once for more deployments
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Vec<SocketAddr>,
    /// Name of each deployment, in the order of --listen; those left over are named sim-1, sim-2, …
    #[arg(long)]
    name: Vec<String>,
    /// Bearer key to insist on
    #[arg(long)]
    api_key: Option<String>,
    /// Path before /v1
    #[arg(long, default_value = "")]
    prefix: String,
    /// Model as NAME=DIMENSIONS instead of OpenAI's three; may be repeated
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
        let models = if self.model.is_empty() { ModelSpec::openai() } else { self.model.clone() };
        let name =
            |index: usize| self.name.get(index).cloned().unwrap_or_else(|| format!("sim-{}", index + 1));
        self.listen
            .iter()
            .enumerate()
            .map(|(index, &listen)| DeploymentSpec {
                name: name(index),
                listen,
                prefix: self.prefix.clone(),
                api_key: self.api_key.clone(),
                models: models.clone(),
                seed: self.seed,
            })
            .collect()
    }
}

#[derive(Serialize)]
struct Ready<'a> {
    deployments: Vec<Bound<'a>>,
}

#[derive(Serialize)]
struct Bound<'a> {
    name: &'a str,
    address: SocketAddr,
    base_url: String,
    control_url: String,
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

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = Simulator::start(&arguments.specs()).await?;
    let deployments = sim
        .deployments()
        .iter()
        .map(|one| Bound {
            name: one.name(),
            address: one.address(),
            base_url: one.base_url(),
            control_url: one.control_url(),
        })
        .collect();
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &Ready { deployments })?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    drop(stdout);

    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    sim.stop().await;
    Ok(())
}
