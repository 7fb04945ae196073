//! `embermesh doctor`: what is wrong, and what to do about it. Looks at the configuration and what it names from this machine, and at
//! the running system from outside.

mod bundle;
mod finding;
mod here;
mod mask;
mod system;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use finding::{Finding, show};

use super::{ask::Ask, block_on, output};
use crate::client::{Connection, Failure, Patience};

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Configuration file; default: embermesh.yaml, if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write what a supporter needs into this new tar.gz too: findings, versions, configuration, health and metrics; no secrets
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
}

/// Looks at everything and prints what it found; exit code 1 when something is broken.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let findings = block_on(async {
        let findings = examine(arguments).await?;
        if let Some(file) = &arguments.bundle {
            let server = Connection::find_for_operator(&arguments.ask.server);
            bundle::write(file, arguments.config.as_deref(), &findings, server.as_ref()).await?;
        }
        Ok(findings)
    })?;
    let broken = findings.iter().any(Finding::is_broken);
    if arguments.ask.json {
        let text = serde_json::to_string(&findings).map_err(|error| Failure::Garbled(error.to_string()))?;
        output::print(&format!("{text}\n"));
    } else {
        output::print(&show(&findings));
        if let Some(file) = &arguments.bundle {
            output::print(&format!("written to {}\n", file.display()));
        }
    }
    Ok(ExitCode::from(u8::from(broken)))
}

async fn examine(arguments: &DoctorArguments) -> Result<Vec<Finding>, Failure> {
    let mut findings = here::examine(arguments.config.as_deref()).await;
    match arguments.ask.client(Patience { total: std::time::Duration::ZERO, ..Patience::SHORT }) {
        Ok(client) => findings.extend(system::examine(&client).await),
        Err(failure) => findings.push(Finding::unknown("server", &failure.to_string())),
    }
    Ok(findings)
}
