//! PostgreSQL's programs for backups: `pg_dump`, `pg_basebackup` and their like, of the installation that the private server would use.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::StartError;
use crate::account::Account;
use crate::install::Install;

/// A directory with `pg_dump` and the others.
#[derive(Debug, Clone)]
pub struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// As the private server is found, but for a machine that has the clients alone: see [`Options`](crate::Options).
    ///
    /// # Errors
    /// [`StartError::NotInstalled`].
    pub fn find(given: Option<&Path>, candidates: &[PathBuf]) -> Result<Self, StartError> {
        let places = Install::places(given, candidates);
        let found =
            places.iter().find(|bin| bin.join("pg_dump").is_file() && bin.join("pg_restore").is_file());
        match found.and_then(|bin| bin.canonicalize().ok()) {
            Some(bin) => Ok(Self { bin }),
            None => {
                let searched: Vec<String> = places.iter().map(|bin| bin.display().to_string()).collect();
                Err(StartError::NotInstalled {
                    searched: format!("pg_dump in none of {}", searched.join(", ")),
                })
            }
        }
    }

    /// A command that runs one of them as who we are, with nothing of PostgreSQL's in its environment.
    pub fn command(&self, name: &str) -> Command {
        Account::Caller.command(&self.bin.join(name))
    }
}
