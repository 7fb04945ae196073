//! `embermesh database migrate`: the three schemas at the version of this build, before anything of it starts. Services do the same at
//! every start, under the same lock; done ahead, a migration that takes long or fails does so before a rolling update has begun.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use embermesh_process::{Arguments, BoxError, load};
use embermesh_telemetry::start_logs;

/// The arguments of `embermesh database migrate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MigrateArguments {
    /// Configuration file; default: embermesh.yaml in the current folder, if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Applies what is missing and says what that was.
pub(crate) fn run(arguments: &MigrateArguments) -> Result<(), BoxError> {
    let config = load(&Arguments { config: arguments.config.clone(), listen: None, dump_config: false })?;
    let _levels = start_logs(&config.logging)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        say("admin", &embermesh_admin::migrate(&config).await?)?;
        say("ledger", &embermesh_cost_ledger::migrate(&config).await?)?;
        say("store", &embermesh_vector_store::migrate(&config).await?)
    })
}

fn say(schema: &str, applied: &[String]) -> Result<(), BoxError> {
    let what = if applied.is_empty() { "up to date".to_owned() } else { applied.join(", ") };
    Ok(writeln!(std::io::stdout(), "{schema}: {what}")?)
}
