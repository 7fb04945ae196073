//! What can be asked of the binary: to serve, or to verify the books.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use embermesh_process::Arguments;

use crate::{run, verify};

#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    serve: Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recompute every balance and cost from the journal, and print what does not agree. Exits with 0 when all does, 1 when something
    /// does not, 2 when that cannot be told
    Verify {
        /// Configuration file; default: embermesh.yaml in the current folder, if it is there
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Does what the arguments of this process say.
pub fn command_line() -> ExitCode {
    let CommandLine { serve, command } = CommandLine::parse();
    match command {
        Some(Command::Verify { config }) => verify::run(config.or(serve.config).as_deref()),
        None => embermesh_process::run_with(&serve, run::DEFAULT_PORT, run::run),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent_and_serving_needs_no_command() {
        CommandLine::command().debug_assert();
        let serve = CommandLine::parse_from(["ledger", "--config", "a.yaml"]);
        assert!(serve.command.is_none() && serve.serve.config == Some("a.yaml".into()));
        let verify = CommandLine::parse_from(["ledger", "verify", "--config", "b.yaml"]);
        assert!(matches!(verify.command, Some(Command::Verify { config: Some(_) })));
    }
}
