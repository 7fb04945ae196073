//! `embermesh database`: the private PostgreSQL alone, for services that run as processes of their own; and below it what is done to
//! whichever database is configured.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use embermesh_private_postgres::{Options, PrivatePostgres};
use embermesh_process::BoxError;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use crate::{migrations, tools};

/// The arguments of `embermesh database`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DatabaseArguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,
    /// Folder for the database.
    #[arg(long, value_name = "DIR", env = "EMBERMESH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of a PostgreSQL with pgvector.
    #[arg(long, value_name = "DIR", env = "EMBERMESH_POSTGRES_DIR")]
    pub postgres_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum DatabaseCommand {
    /// Bring the schemas of the configured databases to the version of this build, and end
    Migrate(migrations::MigrateArguments),
}

/// Starts PostgreSQL on a free loopback port, prints its URL with the password in it, and keeps it until a signal; or does what the
/// subcommand says.
pub fn run(arguments: &DatabaseArguments) -> ExitCode {
    let done = match &arguments.command {
        Some(DatabaseCommand::Migrate(arguments)) => migrations::run(arguments),
        None => serve(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &DatabaseArguments) -> Result<(), BoxError> {
    let dir = arguments.data_dir.clone().unwrap_or_else(crate::data_dir::default);
    std::fs::create_dir_all(&dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    let dir = std::fs::canonicalize(dir)?;
    let options = Options {
        install_dir: arguments.postgres_dir.clone(),
        candidates: tools::candidates("postgres"),
        tcp: true,
        ..Options::new(dir.join("postgres"))
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = PrivatePostgres::start(options).await?;
        let url = server.tcp_url().unwrap_or_else(|| server.connection_url());
        let mut out = std::io::stdout();
        writeln!(out, "{}", url.expose_secret())?;
        out.flush()?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.stop().await?;
        Ok(())
    })
}
