//! What can be asked of the binary: to serve, or to work on its tables.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use embermesh_config::{Config, Source};
use embermesh_postgres::ReplicaSet;
use embermesh_process::{Arguments, BoxError};
use embermesh_telemetry::Metrics;
use embermesh_types::Clock;

use crate::{
    archive,
    domain::month::Month,
    maintenance,
    metrics::StoreMetrics,
    run,
    slow::SlowQueries,
    store::{Pools, Store, Words},
};

#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    serve: Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Each works on the database that the configuration names, beside running services.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make partitions, build indexes that are due and rebuild those of deleted rows, vacuum and analyze
    Maintain,
    /// Write months out to files and drop them
    Archive {
        /// The first month that stays, such as 2026-01
        #[arg(long, value_name = "MONTH")]
        before: Month,
        /// Folder of the files
        #[arg(long, value_name = "FOLDER")]
        into: PathBuf,
    },
    /// Bring archived months back
    Restore {
        /// Manifests of archives, such as space_1_2026_01.json
        #[arg(required = true, value_name = "FILE")]
        manifests: Vec<PathBuf>,
    },
}

/// Does what the arguments of this process say.
pub fn command_line() -> ExitCode {
    let CommandLine { serve, command } = CommandLine::parse();
    let Some(command) = command else {
        return embermesh_process::run_with(&serve, run::DEFAULT_PORT, run::run);
    };
    let outcome = tokio::runtime::Runtime::new().map_err(BoxError::from);
    let mut out = std::io::stdout();
    let work = work(serve.config.as_deref(), &command, &mut out);
    match outcome.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(config: Option<&Path>, command: &Command, out: &mut impl Write) -> Result<(), BoxError> {
    let store = open(&Config::load(&Source::process(config))?).await?;
    match command {
        Command::Maintain => {
            for line in maintenance::at_once(&store).await? {
                writeln!(out, "{line}")?;
            }
        }
        Command::Archive { before, into } => {
            let written = archive::archive(&store, *before, into).await?;
            for manifest in &written {
                writeln!(
                    out,
                    "{} of {}: {} rows archived",
                    manifest.month, manifest.space_id, manifest.rows
                )?;
            }
            writeln!(out, "{} months archived", written.len())?;
        }
        Command::Restore { manifests } => {
            for path in manifests {
                let (manifest, back) = archive::restore(&store, path).await?;
                let known = manifest.rows - back;
                writeln!(
                    out,
                    "{} of {}: {back} rows are back, {known} were there",
                    manifest.month, manifest.space_id
                )?;
            }
        }
    }
    Ok(())
}

/// Does now what services do by themselves in time, on the database that the configuration names and beside them: partitions, expiry,
/// indexes, archiving where it is configured; then vacuums and analyzes. Says what was done.
///
/// # Errors
/// When the database cannot be reached, or the first of what failed.
pub async fn maintain(config: &Config) -> Result<Vec<String>, BoxError> {
    let store = open(config).await?;
    maintenance::archive_due(&store).await;
    Ok(maintenance::at_once(&store).await?)
}

async fn open(config: &Config) -> Result<Arc<Store>, BoxError> {
    let settings = run::settings(config)?;
    let metrics = StoreMetrics::new(&Metrics::default())?;
    // maintenance reads what it writes
    let no_replicas = ReplicaSet::default();
    let pools = Pools::open(&config.database.for_store()?, &settings.pool, &no_replicas, |_| {}).await?;
    let words = Words::load(&pools, &settings.text_search).await?;
    let (slow, _nobody_searches) = SlowQueries::new(settings.slow_query());
    let store = Store::new(pools, words, slow, settings, Clock::system(), metrics);
    store.refresh_spaces().await?;
    Ok(store)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent_and_serving_needs_no_command() {
        CommandLine::command().debug_assert();
        let serve = CommandLine::parse_from(["store", "--config", "a.yaml"]);
        assert!(serve.command.is_none() && serve.serve.config == Some("a.yaml".into()));
        let archive = ["store", "--config", "a.yaml", "archive", "--before", "2026-01", "--into", "x"];
        assert!(matches!(CommandLine::parse_from(archive).command, Some(Command::Archive { .. })));
        let bad = ["store", "archive", "--before", "january", "--into", "x"];
        assert!(CommandLine::try_parse_from(bad).unwrap_err().to_string().contains("write it like 2026-01"));
    }
}
