//! `embermesh completions`: what a shell reads to complete the commands.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::{Shell, generate};

use super::output;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// For which shell
    shell: For,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for the shell, made from `cli`.
pub(crate) fn run(arguments: &CompletionsArguments, mut cli: clap::Command) -> ExitCode {
    output::print(&script(arguments.shell, &mut cli));
    ExitCode::SUCCESS
}

fn script(shell: For, cli: &mut clap::Command) -> String {
    let shell = match shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, cli, "embermesh", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        for shell in For::value_variants() {
            let mut cli = crate::cli::Cli::command();
            let names: Vec<String> =
                cli.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            let script = script(*shell, &mut cli);
            assert!(names.len() > 10);
            assert!(names.iter().all(|name| script.contains(name.as_str())), "{shell:?}: {names:?}");
        }
    }
}
