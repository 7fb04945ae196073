//! What can be typed. Each command's own arguments stand with the command.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use embermesh_standalone::{
    backups::{
        backup::{self, BackupArguments},
        drill::{self, DrillArguments},
        restore::{self, RestoreArguments},
    },
    private_database::{self, DatabaseArguments},
    up::{self, UpArguments},
};
use secrecy::SecretString;

use crate::commands::{
    agents::{self, AgentsArguments},
    audit::{self, AuditArguments},
    breakers::{self, BreakersArguments},
    cache::{self, CacheArguments},
    completions::{self, CompletionsArguments},
    costs::{self, CostsArguments},
    doctor::{self, DoctorArguments},
    embed::{self, EmbedArguments},
    env::{self, EnvArguments},
    keys::{self, KeysArguments},
    maintenance::{self, MaintenanceArguments},
    migrate::{self, MigrateArguments},
    output,
    providers::{self, ProvidersArguments},
    search::{self, SearchArguments},
    settings::{self, SettingsArguments},
    tenants::{self, TenantsArguments},
};

/// Printed below every help text.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  done, but some texts were refused, or something is not as it should be
  2  wrong usage
  3  the server cannot be reached, or the key is not good enough
  4  the server refused the request";

/// Embedding gateway and vector memory for agents.
#[derive(Debug, Parser)]
#[command(name = "embermesh", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, on a database of its own
    Up(UpArguments),
    /// Run the private PostgreSQL alone, and print its URL
    Database(DatabaseArguments),
    /// Back up PostgreSQL and Redis, list and verify backups
    Backup(BackupArguments),
    /// Bring a backup back where nothing is, and open budgets afterwards
    #[command(arg_required_else_help = true)]
    Restore(RestoreArguments),
    /// Restore a backup beside everything, and prove that it is good
    Drill(DrillArguments),
    /// Make partitions, vacuum, rebuild worn indexes, let months go, report costs
    #[command(after_help = EXIT_CODES)]
    Maintenance(MaintenanceArguments),
    /// Embed and store lines, files or folders
    #[command(after_help = EXIT_CODES)]
    Embed(EmbedArguments),
    /// Find the stored texts nearest to a question
    #[command(after_help = EXIT_CODES)]
    Search(SearchArguments),
    /// Report what was spent, show budgets, verify the books
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Costs(CostsArguments),
    /// Show, change and roll back what agents may use and spend
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Agents(AgentsArguments),
    /// Make, change, rotate and revoke API keys
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Keys(KeysArguments),
    /// Make, change, suspend and close tenants
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Tenants(TenantsArguments),
    /// Show how providers are, or probe one
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Providers(ProvidersArguments),
    /// Reset circuit breakers, or force them open or closed
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Breakers(BreakersArguments),
    /// Fill and empty the cache, and see how far that is
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Cache(CacheArguments),
    /// Move stored rows into the embedding space of another model
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Migrate(MigrateArguments),
    /// Turn log levels, caching and circuit breakers at run time
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Settings(SettingsArguments),
    /// Show who changed what, verify that the record of it is whole
    #[command(after_help = EXIT_CODES, arg_required_else_help = true)]
    Audit(AuditArguments),
    /// Look for what is wrong with configuration, databases, Redis, providers and clock, and say what to do
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorArguments),
    /// Print the server's URL and keys for a shell: eval "$(embermesh env)"
    #[command(after_help = EXIT_CODES)]
    Env(EnvArguments),
    /// Print what a shell reads to complete these commands
    Completions(CompletionsArguments),
}

/// Which server, and with which key.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArguments {
    /// Base URL; default: that of the `embermesh up` of this data folder
    #[arg(long, value_name = "URL", env = "EMBERMESH_URL")]
    pub url: Option<String>,
    /// API key; default: the agent key of the data folder
    #[arg(long, value_name = "KEY", env = "EMBERMESH_API_KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,
    #[command(flatten)]
    pub data: DataArguments,
}

/// Which server, and with which key of an operator.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct OperatorArguments {
    /// Base URL; default: that of the `embermesh up` of this data folder
    #[arg(long, value_name = "URL", env = "EMBERMESH_URL")]
    pub url: Option<String>,
    /// API key with the scope that the command needs; default: the admin key of the data folder
    #[arg(long, value_name = "KEY", env = "EMBERMESH_ADMIN_KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,
    #[command(flatten)]
    pub data: DataArguments,
}

/// Where `embermesh up` keeps its files.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataArguments {
    /// Data folder of `embermesh up`
    #[arg(long, value_name = "DIR", env = "EMBERMESH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Database(arguments) => return private_database::run(&arguments),
            Command::Up(arguments) => return up::run(&arguments),
            Command::Backup(arguments) => return backup::run(&arguments),
            Command::Restore(arguments) => return restore::run(&arguments),
            Command::Drill(arguments) => return drill::run(&arguments),
            Command::Completions(arguments) => return completions::run(&arguments, Self::command()),
            Command::Maintenance(arguments) => maintenance::run(&arguments),
            Command::Embed(arguments) => embed::run(arguments),
            Command::Search(arguments) => search::run(&arguments),
            Command::Costs(arguments) => costs::run(&arguments),
            Command::Agents(arguments) => agents::run(&arguments),
            Command::Keys(arguments) => keys::run(&arguments),
            Command::Tenants(arguments) => tenants::run(&arguments),
            Command::Providers(arguments) => providers::run(&arguments),
            Command::Breakers(arguments) => breakers::run(&arguments),
            Command::Cache(arguments) => cache::run(&arguments),
            Command::Migrate(arguments) => migrate::run(&arguments),
            Command::Settings(arguments) => settings::run(&arguments),
            Command::Audit(arguments) => audit::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Env(arguments) => env::run(&arguments),
        };
        done.unwrap_or_else(|failure| {
            output::complain(&failure);
            failure.exit_code()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        let words = std::iter::once("embermesh").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn several_sources_follow_one_flag() {
        let Ok(Command::Embed(embed)) =
            parse("embed --agent docs --from docs README.md --concurrency 4 --json")
        else {
            panic!("not parsed");
        };
        assert_eq!(embed.from, [PathBuf::from("docs"), PathBuf::from("README.md")]);
        assert_eq!((embed.agent.as_str(), embed.concurrency, embed.json), ("docs", 4, true));
    }

    #[test]
    fn a_question_may_be_several_words() {
        let Ok(Command::Search(search)) =
            parse("search --agent docs --min-similarity -0.5 how do I change a key")
        else {
            panic!("not parsed");
        };
        assert_eq!(search.query.join(" "), "how do I change a key");
        assert_eq!((search.limit, search.min_similarity), (5, Some(-0.5)));
    }

    #[test]
    fn bad_values_are_refused_before_anything_is_sent() {
        for line in [
            "embed",
            "embed --agent a/b",
            "embed --agent docs --concurrency 0",
            "embed --agent docs --from",
            "search --agent docs",
            "search --agent docs --limit 0 x",
            "search --agent docs --limit 1001 x",
            "search --agent docs --min-similarity 1.5 x",
            "search --agent docs --min-similarity NaN x",
            "costs",
            "costs report --group-by week",
            "costs report --json --csv",
            "costs verify --csv",
            "audit",
            "audit list --limit 1001",
            "keys create",
            "keys create x --out f --json",
            "keys get",
            "keys get a/b",
            "keys update ABC",
            "keys revoke",
            "keys rotate",
            "keys rotate ABC --older-than 30d",
            "keys rotate --older-than soon",
            "settings",
            "settings set cache.ttl",
            "settings clear",
            "tenants",
            "tenants create",
            "tenants get acme",
            "tenants update 0192d5a0-0000-7000-8000-00000000beef",
            "env --url http://localhost",
            "completions",
            "completions powershell",
            "keys successor --out f --json",
            "cache",
            "cache warm --rows 0",
            "cache status",
            "backup --kind tape",
            "backup wal-push x",
            "restore --to 2026-11-30T12:00:00Z",
            "restore --kind base --to yesterday",
            "drill --at noon",
            "migrate",
            "migrate start",
            "nonsense",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_database_is_run_or_migrated_and_not_both() {
        assert!(matches!(parse("database --data-dir d"), Ok(Command::Database(_))));
        assert!(matches!(parse("database migrate --config f"), Ok(Command::Database(_))));
        assert!(parse("database --data-dir d migrate").is_err());
    }

    #[test]
    fn backups_are_made_or_looked_at() {
        for line in [
            "backup",
            "backup --kind base --kind logical --storage /b",
            "backup list --storage s3://b/p",
            "backup verify base-20261130T120000Z-0000",
            "backup wal-push --storage /b pg_wal/000000010000000000000001",
            "restore --kind base --to 2026-11-30T12:00:00Z",
            "restore reconcile --data-dir d",
            "restore mark --to 2026-11-30T12:00:00Z",
            "drill --at random",
            "maintenance --report costs.json",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_key_is_not_shown_by_debug() {
        let Ok(command) = parse("search --api-key secret-key x") else { panic!("not parsed") };
        assert!(!format!("{command:?}").contains("secret-key"));
    }

    #[test]
    fn help_names_the_exit_codes() {
        for name in [
            "embed",
            "search",
            "costs",
            "agents",
            "keys",
            "tenants",
            "audit",
            "providers",
            "breakers",
            "cache",
            "migrate",
            "settings",
            "doctor",
            "env",
        ] {
            let mut root = Cli::command();
            let help = root.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(help.contains("Exit codes:"), "{help}");
        }
    }
}
