//! `embermesh maintenance`: what is done by the clock: partitions, vacuum, worn indexes, months that leave, and a report of costs.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use embermesh_standalone::maintenance::tidy;

use super::{block_on, output};
use crate::{
    cli::OperatorArguments,
    client::{Client, Connection, Failure, Patience},
};

#[derive(Debug, Args)]
pub(crate) struct MaintenanceArguments {
    /// Configuration file; default: embermesh.yaml in the current folder, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also empty the cache. What it holds ends by itself; emptied, all of it is paid for again
    #[arg(long)]
    clear_cache: bool,
    /// Where to write the costs of the last 24 hours; needs a key with the scope `costs`
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    server: OperatorArguments,
}

/// Does everything, and says what that was.
pub(crate) fn run(arguments: &MaintenanceArguments) -> Result<ExitCode, Failure> {
    let data_dir = arguments.server.data.data_dir.clone();
    let lines = block_on(async {
        tidy(arguments.config.as_deref(), data_dir).await.map_err(|error| Failure::Usage(error.to_string()))
    })?;
    for line in lines {
        output::print(&format!("{line}\n"));
    }
    if arguments.clear_cache || arguments.report.is_some() {
        let client = Client::new(&Connection::find_for_operator(&arguments.server)?, Patience::SHORT)?;
        block_on(over_the_api(&client, arguments))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn over_the_api(client: &Client, arguments: &MaintenanceArguments) -> Result<(), Failure> {
    if arguments.clear_cache {
        client.post("/api/v1/admin/cache/clear", b"{}".to_vec()).await?;
        output::print("cache: being emptied\n");
    }
    if let Some(file) = &arguments.report {
        let report = client.get("/api/v1/reports/costs").await?;
        let failed = |error| Failure::Usage(format!("{}: {error}", file.display()));
        fs::write(file, &report).map_err(failed)?;
        output::print(&format!("costs of the last 24 hours: {}\n", file.display()));
    }
    Ok(())
}
