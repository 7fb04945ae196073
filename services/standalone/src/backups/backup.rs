//! `embermesh backup`: makes backups, lists and verifies them; and what PostgreSQL runs to archive its log.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::SystemTime};

use clap::{Args, Subcommand};
use embermesh_backup::{
    BackupError, Catalogue, Fetched, Kind, Listed, Manifest, Pruned, Storage, Wal, take_base, take_logical,
    take_redis,
};
use embermesh_cost_ledger::{BackupRun, record_backup};
use embermesh_process::BoxError;
use secrecy::SecretString;

use super::place::{Place, PlaceArguments};

/// Recovery must not take what failed for the end of the log, so this is no ordinary failure: above 125 it stops.
const CANNOT_TELL: u8 = 200;

/// The arguments of `embermesh backup`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupArguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: PlaceArguments,
    /// What to back up: logical, base or redis; default: what `backup` in the configuration says
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Days that backups are kept; default: as configured, else 30
    #[arg(long, value_name = "DAYS")]
    retention: Option<u32>,
    /// Whose server a base backup is of, where each has its own
    #[arg(long, value_name = "NAME", default_value = "store", value_parser = ["store", "ledger", "admin"])]
    database: String,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Show the backups that there are, oldest first
    List(PlaceArguments),
    /// Read every byte of backups and of the archived log, and hold it against what was written
    Verify {
        /// Names of backups; default: the newest of each kind
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Archive a segment of PostgreSQL's log: its archive_command, with %p
    WalPush {
        /// Where backups are
        #[arg(long, value_name = "URL")]
        storage: String,
        /// The segment
        path: PathBuf,
    },
    /// Bring a segment back: PostgreSQL's restore_command, with %f and %p. Exits with 1 when it was never archived
    WalFetch {
        /// Where backups are
        #[arg(long, value_name = "URL")]
        storage: String,
        /// Its name
        name: String,
        /// Where to
        path: PathBuf,
    },
}

/// Does what was asked for.
pub fn run(arguments: &BackupArguments) -> ExitCode {
    let fetches = matches!(arguments.command, Some(Command::WalFetch { .. }));
    let runtime = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match runtime.and_then(|runtime| runtime.block_on(work(arguments))) {
        Ok(code) => code,
        Err(error) => {
            say_error(&error);
            if fetches { ExitCode::from(CANNOT_TELL) } else { ExitCode::FAILURE }
        }
    }
}

async fn work(arguments: &BackupArguments) -> Result<ExitCode, BoxError> {
    match &arguments.command {
        None => make(arguments).await?,
        Some(Command::List(place)) => list(place).await?,
        Some(Command::Verify { names, place }) => return verify(names, place).await,
        Some(Command::WalPush { storage, path }) => {
            Wal::new(Storage::open(storage).await?).push(path).await?;
        }
        Some(Command::WalFetch { storage, name, path }) => {
            let fetched = Wal::new(Storage::open(storage).await?).fetch(name, path).await?;
            return Ok(ExitCode::from(u8::from(fetched == Fetched::Absent)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn make(arguments: &BackupArguments) -> Result<(), BoxError> {
    let mut place = Place::find(&arguments.place)?;
    let kinds = if arguments.kind.is_empty() { configured(&place)? } else { arguments.kind.clone() };
    if kinds.iter().any(|kind| *kind != Kind::Redis) {
        place.attach()?;
    }
    for kind in kinds {
        let (storage, target) = match kind {
            Kind::Redis => (place.redis_storage().await?, place.config.backup.redis.as_ref()),
            Kind::Logical | Kind::Base => (place.postgres_storage().await?, place.postgres_target()),
        };
        let days = arguments.retention.or(target.map(|target| target.retention)).unwrap_or(30);
        let manifest = match kind {
            Kind::Logical => {
                take_logical(&storage, &place.programs()?, &place.databases()?, &place.extras()).await?
            }
            Kind::Base => {
                let url = server_of(&place, &arguments.database)?;
                take_base(&storage, &place.programs()?, &url, &place.extras()).await?
            }
            Kind::Redis => redis(&storage, &place).await?,
        };
        say(&format!("{}: {} files, {}", manifest.id, manifest.files.len(), size(manifest.bytes())))?;
        let Pruned { backups, segments } = Catalogue::new(storage).prune(kind, days).await?;
        for gone in backups {
            say(&format!("{gone}: let go, it was older than {days} days or never finished"))?;
        }
        if segments > 0 {
            say(&format!("segments of the log that no base backup needs, let go: {segments}"))?;
        }
        record(&place, &manifest).await;
    }
    Ok(())
}

/// What the configuration asks for.
fn configured(place: &Place) -> Result<Vec<Kind>, BoxError> {
    let postgres = place.postgres_target().map(|target| match target.method.as_str() {
        "pg_basebackup" => Kind::Base,
        _ => Kind::Logical,
    });
    let redis = place.config.backup.redis.as_ref().filter(|_| !place.redis().is_empty()).map(|_| Kind::Redis);
    let kinds: Vec<Kind> = postgres.into_iter().chain(redis).collect();
    if kinds.is_empty() {
        return Err("the configuration has no backup: add the section, or say --kind and --storage".into());
    }
    Ok(kinds)
}

fn server_of(place: &Place, name: &str) -> Result<SecretString, BoxError> {
    let database = &place.config.database;
    Ok(match name {
        "ledger" => database.for_ledger()?,
        "admin" => database.for_admin()?,
        _ => database.for_store()?,
    })
}

async fn redis(storage: &Storage, place: &Place) -> Result<Manifest, BoxError> {
    let instances = place.redis();
    if instances.is_empty() {
        return Err("no Redis is configured".into());
    }
    Ok(take_redis(storage, &instances).await?)
}

/// For the metrics. A backup is one also when the books cannot be told of it.
async fn record(place: &Place, manifest: &Manifest) {
    let run = BackupRun {
        kind: manifest.kind.to_string(),
        succeeded_at: SystemTime::from(manifest.finished_at),
        bytes: i64::try_from(manifest.bytes()).unwrap_or(i64::MAX),
        rpo_seconds: None,
        rto_seconds: None,
    };
    if let Err(error) = record_backup(&place.config, &run).await {
        say_error(&format!("the backup is made, but the ledger's metrics will not show it: {error}").into());
    }
}

async fn list(arguments: &PlaceArguments) -> Result<(), BoxError> {
    let place = Place::find(arguments)?;
    let mut all = Vec::new();
    for storage in storages(&place).await? {
        all.extend(Catalogue::new(storage).list().await?);
    }
    if all.is_empty() {
        say("no backups")?;
    }
    for listed in all {
        match listed {
            Listed::Whole(manifest) => {
                let Manifest { id, begun_at, finished_at, .. } = &manifest;
                let took = finished_at.duration_since(*begun_at).as_secs();
                let version = manifest.server.as_ref().map_or_else(String::new, |server| {
                    format!(", PostgreSQL {} at {}", server.version, server.lsn)
                });
                say(&format!("{id}  {}, took {took} s{version}", size(manifest.bytes())))?;
            }
            Listed::Broken { id, why } => say(&format!("{id}  NOT WHOLE: {why}"))?,
        }
    }
    Ok(())
}

/// Those of PostgreSQL and of Redis, as far as they are named.
async fn storages(place: &Place) -> Result<Vec<Storage>, BoxError> {
    if place.arguments.storage.is_some() || place.config.backup.redis.is_none() {
        return Ok(vec![place.postgres_storage().await?]);
    }
    let redis = place.redis_storage().await?;
    if place.postgres_target().is_none() {
        return Ok(vec![redis]);
    }
    let postgres = place.postgres_storage().await?;
    Ok(if postgres.to_string() == redis.to_string() { vec![postgres] } else { vec![postgres, redis] })
}

async fn verify(names: &[String], arguments: &PlaceArguments) -> Result<ExitCode, BoxError> {
    let place = Place::find(arguments)?;
    let (mut good, mut looked_at) = (true, 0);
    for storage in storages(&place).await? {
        let catalogue = Catalogue::new(storage.clone());
        for manifest in chosen(&catalogue, names).await? {
            looked_at += 1;
            good &= verified(&storage, &catalogue, &manifest).await?;
        }
    }
    if looked_at == 0 {
        return Err("there is no whole backup of that name, or none at all".into());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn chosen(catalogue: &Catalogue, names: &[String]) -> Result<Vec<Manifest>, BackupError> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let prefix = format!("{kind}-");
        let named: Vec<Option<&str>> = match names {
            [] => vec![None],
            names => names
                .iter()
                .filter(|name| name.starts_with(&prefix))
                .map(|name| Some(name.as_str()))
                .collect(),
        };
        for name in named {
            match catalogue.find(kind, name, None).await {
                Ok(manifest) => found.push(manifest),
                Err(BackupError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

async fn verified(storage: &Storage, catalogue: &Catalogue, manifest: &Manifest) -> Result<bool, BoxError> {
    let id = &manifest.id;
    match catalogue.check(manifest).await {
        Ok(checked) => {
            say(&format!("{id}: {} files, {}: as they were written", checked.files, size(checked.bytes)))?
        }
        Err(BackupError::Damaged(why)) => {
            say(&format!("{id}: DAMAGED: {why}"))?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    let Some((server, from)) =
        manifest.server.as_ref().and_then(|server| Some((server, server.wal_from.as_deref()?)))
    else {
        return Ok(true);
    };
    match Wal::new(storage.clone()).check(from, server.segment_bytes, true).await {
        Ok((count, _)) => {
            say(&format!("{id}: {count} segments of the log from {from} on, none is missing"))?;
            Ok(true)
        }
        Err(BackupError::Damaged(why)) => {
            say(&format!("{id}: DAMAGED: {why}"))?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

pub(crate) fn say(line: &str) -> Result<(), std::io::Error> {
    writeln!(std::io::stdout(), "{line}")
}

pub(crate) fn say_error(error: &BoxError) {
    let _unwritable = writeln!(std::io::stderr(), "error: {error}");
}
