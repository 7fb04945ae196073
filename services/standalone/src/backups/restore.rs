//! `embermesh restore`: brings a backup back, where nothing is yet; closes the budgets of the restored books, and opens them again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use embermesh_backup::{Catalogue, Kind, Manifest, Recovery, Storage, Wal, recover, restore_logical, unpack};
use embermesh_config::{Config, Secret};
use embermesh_cost_ledger::recovery;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_private_postgres::{Options, PrivatePostgres};
use embermesh_process::BoxError;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use super::{
    backup::{say, say_error},
    place::{DATABASE, PASSWORD, Place, PlaceArguments, archiving, copy_secret, fetching},
};
use crate::tools;

/// Recovery reads all of the log since the backup.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The arguments of `embermesh restore`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RestoreArguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: PlaceArguments,
    /// What to bring back: logical, base or redis
    #[arg(long, value_name = "KIND", required = true)]
    kind: Option<Kind>,
    /// The backup's name; default: the newest that will do
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    /// The moment to go back to, such as 2026-11-30T12:00:00Z; default: as far as the archived log goes. Of base backups
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Where to: an empty database's URL, or a folder that is not there; default: the configured databases, or the data folder
    #[arg(long, value_name = "WHERE")]
    into: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Open budgets again: every router has started since the restore, and has told what it had on disk
    Reconcile(PlaceArguments),
    /// Close budgets, after a restore by other means
    Mark {
        /// The moment that the books were brought back to
        #[arg(long, value_name = "TIME")]
        to: Timestamp,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// Does what was asked for.
pub fn run(arguments: &RestoreArguments) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match runtime.and_then(|runtime| runtime.block_on(work(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn work(arguments: &RestoreArguments) -> Result<(), BoxError> {
    match &arguments.command {
        None => restore(arguments).await,
        Some(Command::Reconcile(place)) => {
            let mut place = Place::find(place)?;
            place.attach()?;
            reconcile(&place.config).await
        }
        Some(Command::Mark { to, place }) => {
            let mut place = Place::find(place)?;
            place.attach()?;
            recovery::mark(&place.config, (*to).into()).await?;
            Ok(say("budgets are closed until `embermesh restore reconcile`")?)
        }
    }
}

async fn reconcile(config: &Config) -> Result<(), BoxError> {
    let Some(done) = recovery::reconcile(config).await? else { return Ok(say("budgets are open")?) };
    let to = Timestamp::try_from(done.restored_to)?;
    say(&format!("the books were brought back to {to}"))?;
    say(&format!("{} attempts of later than that were told again by routers", done.told_again))?;
    say(&format!(
        "{} attempts have no end yet; those whose router is gone are charged at their bounds",
        done.open
    ))?;
    say(&format!(
        "{} stay out of reach until their days end: they may have been spent in what was lost",
        usd(done.presumed)
    ))?;
    Ok(say("budgets are open within five seconds")?)
}

fn usd(nanos: i64) -> String {
    format!("{}.{:09} USD", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

async fn restore(arguments: &RestoreArguments) -> Result<(), BoxError> {
    let place = Place::find(&arguments.place)?;
    let kind = arguments.kind.ok_or("say --kind logical, base or redis")?;
    if arguments.to.is_some() && kind != Kind::Base {
        return Err("only a base backup and the archived log can be brought to a moment".into());
    }
    let storage =
        if kind == Kind::Redis { place.redis_storage().await? } else { place.postgres_storage().await? };
    let catalogue = Catalogue::new(storage.clone());
    let manifest = catalogue.find(kind, arguments.backup.as_deref(), arguments.to).await?;
    match kind {
        Kind::Logical => logical(&place, &catalogue, &manifest, arguments.into.as_deref()).await,
        Kind::Base => base(&place, &storage, &catalogue, &manifest, arguments).await,
        Kind::Redis => redis(&catalogue, &manifest, arguments.into.as_deref()).await,
    }
}

async fn logical(
    place: &Place,
    catalogue: &Catalogue,
    manifest: &Manifest,
    into: Option<&str>,
) -> Result<(), BoxError> {
    let fetched = TempDir::with_prefix("embermesh-restore-")?;
    catalogue.fetch(manifest, fetched.path()).await?;
    let (mut config, mut server) = (place.config.clone(), None);
    let targets: Vec<SecretString> = match into {
        Some(url) => {
            config.database =
                embermesh_config::Database { url: Some(Secret::new(url)), ..Default::default() };
            vec![url.into()]
        }
        None if place.is_private() => {
            refuse_existing(&PrivatePostgres::cluster_dir(&place.postgres_dir()))?;
            fs::create_dir_all(&place.data_dir)?;
            let private = PrivatePostgres::start(private_options(place)?).await?;
            config.database.url = Some(Secret::new(private.connection_url().expose_secret()));
            let url = private.connection_url().clone();
            server = Some(private);
            vec![url]
        }
        None => place.databases()?,
    };
    let dumps: Vec<&str> =
        manifest.files.iter().map(|file| file.name.as_str()).filter(|name| name.ends_with(".dump")).collect();
    if dumps.len() != targets.len() {
        let (there, here) = (dumps.len(), targets.len());
        return Err(format!("the backup is of {there} databases, {here} are named").into());
    }
    let programs = place.programs()?;
    for (dump, url) in dumps.into_iter().zip(&targets) {
        restore_logical(&programs, &fetched.path().join(dump), url).await?;
        say(&format!("{dump} is restored"))?;
    }
    recovery::mark(&config, manifest.begun_at.into()).await?;
    if let Some(server) = server {
        told_back(place, fetched.path())?;
        server.stop().await?;
    }
    restored(manifest, manifest.begun_at)
}

async fn base(
    place: &Place,
    storage: &Storage,
    catalogue: &Catalogue,
    manifest: &Manifest,
    arguments: &RestoreArguments,
) -> Result<(), BoxError> {
    let server = manifest.server.as_ref().ok_or("the manifest does not say of which server the backup is")?;
    let from = server.wal_from.as_deref().ok_or("the manifest does not say where the log begins")?;
    // a log with a hole would end there without a word
    Wal::new(storage.clone()).check(from, server.segment_bytes, false).await?;
    let target = arguments.into.as_ref().map(PathBuf::from);
    let postgres_dir = place.postgres_dir();
    let cluster = target.clone().unwrap_or_else(|| PrivatePostgres::cluster_dir(&postgres_dir));
    refuse_existing(&cluster)?;
    let parent = cluster.parent().ok_or("a cluster needs a folder to lie in")?.to_owned();
    fs::create_dir_all(&parent)?;
    let fetched = tempfile::Builder::new().prefix(".restoring-").tempdir_in(&parent)?;
    catalogue.fetch(manifest, fetched.path()).await?;
    let aside = fetched.path().join("cluster");
    unpack(&place.programs()?, fetched.path(), &aside).await?;
    say(&format!("{}: every file is as it was written", manifest.id))?;
    let recovery = arguments.to.map_or(Recovery::Latest, Recovery::To);
    recover(&aside, &fetching(&place.postgres_storage_url()?)?, recovery)?;
    if target.is_some() {
        fs::rename(&aside, &cluster)?;
        say(&format!(
            "{} is ready: start PostgreSQL {} on it, it recovers by itself",
            cluster.display(),
            server.version
        ))?;
        return Ok(say("then run `embermesh restore mark --to TIME` before any ledger starts")?);
    }
    let password = fetched.path().join("files").join(PASSWORD);
    let kept = postgres_dir.join("password");
    if !kept.exists() {
        if !password.is_file() {
            return Err("this is no backup of the PostgreSQL of `embermesh up`: say --into FOLDER".into());
        }
        copy_secret(&password, &kept)?;
    }
    fs::rename(&aside, &cluster)?;
    let outcome = bring_up(place, manifest.finished_at).await;
    if outcome.is_err() {
        // half of a restore is none: what the next one needs is in the storage
        fs::remove_dir_all(&cluster)?;
    }
    let to = outcome?;
    told_back(place, fetched.path())?;
    restored(manifest, to)
}

/// Starts the server, which recovers before it answers, and closes the budgets; then stops it. The time of the last commit in it.
async fn bring_up(place: &Place, at_least: Timestamp) -> Result<Timestamp, BoxError> {
    let mut options = private_options(place)?;
    options.settings.push("hot_standby=off".to_owned());
    options.start_timeout = PATIENCE;
    let server = PrivatePostgres::start(options).await?;
    let mut config = place.config.clone();
    config.database.url = Some(Secret::new(server.connection_url().expose_secret()));
    let to = recovered_to(server.connection_url(), at_least).await?;
    recovery::mark(&config, to.into()).await?;
    server.stop().await?;
    Ok(to)
}

/// The last commit that was recovered; without one it is as it was at the end of the backup.
pub(crate) async fn recovered_to(url: &SecretString, at_least: Timestamp) -> Result<Timestamp, BoxError> {
    let database = Database::connect(url, Schema::Store, Role::Owner, &PoolConfig::default()).await?;
    let row = database.system().query_one("SELECT pg_last_xact_replay_timestamp()", &[]).await?;
    let time: Option<std::time::SystemTime> = row.try_get(0).map_err(embermesh_postgres::DbError::from)?;
    Ok(time.map(Timestamp::try_from).transpose()?.unwrap_or(at_least))
}

fn private_options(place: &Place) -> Result<Options, BoxError> {
    Ok(Options {
        install_dir: place.arguments.postgres_dir.clone(),
        candidates: tools::candidates("postgres"),
        database: DATABASE.to_owned(),
        settings: archiving(&place.config)?,
        ..Options::new(place.postgres_dir())
    })
}

async fn redis(catalogue: &Catalogue, manifest: &Manifest, into: Option<&str>) -> Result<(), BoxError> {
    let folder =
        PathBuf::from(into.ok_or("say --into FOLDER: the working folder of Redis, which must not run")?);
    refuse_existing(&folder.join("dump.rdb"))?;
    fs::create_dir_all(&folder)?;
    let fetched = tempfile::Builder::new().prefix(".restoring-").tempdir_in(&folder)?;
    catalogue.fetch(manifest, fetched.path()).await?;
    for file in &manifest.files {
        let target = folder.join(&file.name);
        refuse_existing(&target)?;
        fs::rename(fetched.path().join(&file.name), &target)?;
        say(&format!("{} is there", target.display()))?;
    }
    Ok(())
}

fn refuse_existing(path: &Path) -> Result<(), BoxError> {
    if path.exists() {
        return Err(format!("{} is there already and stays; move it away first", path.display()).into());
    }
    Ok(())
}

fn told_back(place: &Place, fetched: &Path) -> Result<(), BoxError> {
    let put = place.put_back(fetched)?;
    if !put.is_empty() {
        say(&format!("put back into {}: {}", place.data_dir.display(), put.join(", ")))?;
    }
    Ok(())
}

fn restored(manifest: &Manifest, to: Timestamp) -> Result<(), BoxError> {
    say(&format!("{} is restored to {to}", manifest.id))?;
    Ok(say("budgets are closed: start everything, then run `embermesh restore reconcile`")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_exactly() {
        assert_eq!(usd(0), "0.000000000 USD");
        assert_eq!(usd(12_000_000_345), "12.000000345 USD");
    }
}
