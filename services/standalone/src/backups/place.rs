//! What a command of backups works on: the configuration, the data folder, the databases, the programs and the storage.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use embermesh_backup::{Extra, Instance, Storage};
use embermesh_config::{BackupTarget, Config, ConfigError, Secret};
use embermesh_private_postgres::{PrivatePostgres, Programs};
use embermesh_process::{Arguments, BoxError, load};
use secrecy::{ExposeSecret, SecretString};

use crate::tools;

/// The name of the database that `embermesh up` makes.
pub(crate) const DATABASE: &str = "embeddings";
/// Files of the data folder that go along with a backup: without them what is restored cannot be read, verified or called.
const ALONG: [&str; 4] = ["keys.json", "credential.keys", "audit.key", "audit-anchors.log"];
/// The password of the private PostgreSQL, in a backup.
pub(crate) const PASSWORD: &str = "postgres-password";

/// What all of these commands take.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceArguments {
    /// Configuration file; default: embermesh.yaml in the current folder, if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder of `embermesh up`
    #[arg(long, value_name = "DIR", env = "EMBERMESH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of PostgreSQL's programs
    #[arg(long, value_name = "DIR", env = "EMBERMESH_POSTGRES_DIR")]
    pub postgres_dir: Option<PathBuf>,
    /// Where backups are, s3://bucket/prefix or an absolute path; default: what `backup` in the configuration says
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
}

/// The configuration and where it leads.
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) data_dir: PathBuf,
    pub(crate) arguments: PlaceArguments,
}

impl Place {
    pub(crate) fn find(arguments: &PlaceArguments) -> Result<Self, BoxError> {
        let of_all = Arguments { config: arguments.config.clone(), listen: None, dump_config: false };
        let mut config = load(&of_all)?;
        let given = arguments.data_dir.clone().or(config.data_dir.take());
        let data_dir = given.unwrap_or_else(crate::data_dir::default);
        let data_dir = std::path::absolute(&data_dir)?;
        Ok(Self { config, data_dir, arguments: arguments.clone() })
    }

    pub(crate) fn programs(&self) -> Result<Programs, BoxError> {
        Ok(Programs::find(self.arguments.postgres_dir.as_deref(), &tools::candidates("postgres"))?)
    }

    /// Whether PostgreSQL is that of `embermesh up`.
    pub(crate) fn is_private(&self) -> bool {
        let database = &self.config.database;
        let own = [&database.ledger_url, &database.store_url, &database.admin_url];
        database.connection_url().is_none() && own.iter().all(|url| url.is_none())
    }

    pub(crate) fn postgres_dir(&self) -> PathBuf {
        self.data_dir.join("postgres")
    }

    /// Configures the running private PostgreSQL, when no other one is configured.
    pub(crate) fn attach(&mut self) -> Result<(), BoxError> {
        if self.is_private() {
            let dir = self.postgres_dir();
            let url = PrivatePostgres::running_url(&dir, DATABASE).ok_or_else(|| {
                format!("no database is configured, and no PostgreSQL runs in {}: start `embermesh up`, or set DATABASE_URL", dir.display())
            })?;
            self.config.database.url = Some(Secret::new(url.expose_secret()));
        }
        Ok(())
    }

    /// Every database, once: that of vectors first.
    pub(crate) fn databases(&self) -> Result<Vec<SecretString>, ConfigError> {
        let database = &self.config.database;
        let all = [database.for_store()?, database.for_ledger()?, database.for_admin()?];
        let mut seen = BTreeSet::new();
        Ok(all.into_iter().filter(|url| seen.insert(url.expose_secret().to_owned())).collect())
    }

    pub(crate) fn postgres_target(&self) -> Option<&BackupTarget> {
        self.config.backup.postgres.as_ref()
    }

    /// Where backups of PostgreSQL are.
    pub(crate) fn postgres_storage_url(&self) -> Result<String, BoxError> {
        let configured = self.postgres_target().map(|target| target.storage.clone());
        let url = self.arguments.storage.clone().or(configured);
        url.ok_or_else(|| "say where backups are: backup.postgres.storage, or --storage".into())
    }

    pub(crate) async fn postgres_storage(&self) -> Result<Storage, BoxError> {
        Ok(Storage::open(&self.postgres_storage_url()?).await?)
    }

    pub(crate) async fn redis_storage(&self) -> Result<Storage, BoxError> {
        let configured = self.config.backup.redis.as_ref().map(|target| target.storage.clone());
        let url = self.arguments.storage.clone().or(configured);
        let url = url.ok_or("say where backups of Redis are: backup.redis.storage, or --storage")?;
        Ok(Storage::open(&url).await?)
    }

    /// Every Redis that is configured.
    pub(crate) fn redis(&self) -> Vec<Instance> {
        let redis = &self.config.redis;
        let url = redis.url.iter().map(|url| Instance::parse(url.as_secret()));
        url.chain(redis.cluster_endpoints.iter().map(|node| Instance::parse(&node.clone().into()))).collect()
    }

    /// What goes along with a backup of PostgreSQL.
    pub(crate) fn extras(&self) -> Vec<Extra> {
        let mut along: Vec<(PathBuf, &str)> =
            ALONG.iter().map(|name| (self.data_dir.join(name), *name)).collect();
        if self.is_private_dir() {
            along.push((self.postgres_dir().join("password"), PASSWORD));
        }
        let there = along.into_iter().filter(|(path, _)| path.is_file());
        there.map(|(path, name)| Extra { path, name: name.to_owned() }).collect()
    }

    fn is_private_dir(&self) -> bool {
        PrivatePostgres::cluster_dir(&self.postgres_dir()).is_dir()
    }

    /// Puts back what went along, where it is missing; returns what it put.
    pub(crate) fn put_back(&self, fetched: &Path) -> Result<Vec<&'static str>, BoxError> {
        let mut put = Vec::new();
        for name in ALONG {
            let (from, to) = (fetched.join("files").join(name), self.data_dir.join(name));
            if from.is_file() && !to.exists() {
                copy_secret(&from, &to)?;
                put.push(name);
            }
        }
        Ok(put)
    }
}

/// Readable by its owner alone.
pub(crate) fn copy_secret(from: &Path, to: &Path) -> Result<(), BoxError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::copy(from, to).map_err(|error| format!("{}: {error}", to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// How the private PostgreSQL archives its log.
pub(crate) fn archiving(config: &Config) -> Result<Vec<String>, BoxError> {
    let Some(target) = &config.backup.postgres else { return Ok(Vec::new()) };
    let seconds = target.archive_timeout.map_or(60, |span| span.0.as_secs());
    let push = format!("{} backup wal-push --storage {} %p", own_program()?, shell(&target.storage));
    Ok(vec![
        "archive_mode=on".to_owned(),
        format!("archive_timeout={seconds}"),
        format!("archive_command={push}"),
    ])
}

/// The command that brings a segment back.
pub(crate) fn fetching(storage: &str) -> Result<String, BoxError> {
    Ok(format!("{} backup wal-fetch --storage {} %f \"%p\"", own_program()?, shell(storage)))
}

fn own_program() -> Result<String, BoxError> {
    let path = std::env::current_exe()?;
    Ok(shell(path.to_str().ok_or("the path of this program is no text")?))
}

/// One word to a shell, with nothing in it for PostgreSQL to replace.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_archived_where_backups_are_configured() {
        assert!(archiving(&Config::default()).unwrap().is_empty());
        let mut config = Config::default();
        config.backup.postgres = Some(BackupTarget {
            schedule: "0 2 * * *".to_owned(),
            retention: 30,
            method: "pg_dump".to_owned(),
            storage: "/b'100%".to_owned(),
            archive_timeout: None,
        });
        let settings = archiving(&config).unwrap();
        assert_eq!(settings[..2], ["archive_mode=on", "archive_timeout=60"]);
        assert!(settings[2].ends_with(r" backup wal-push --storage '/b'\''100%%' %p"), "{}", settings[2]);
    }
}
