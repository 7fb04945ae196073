//! `embermesh drill`: restores a backup to a server of its own, beside everything, and proves that it is good: every file, the log, the
//! books, the record of changes, the rows, and what searches find. Says how much work would have been lost, and how long it took.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use embermesh_admin::AdminService;
use embermesh_backup::{Catalogue, Kind, Manifest, Recovery, Storage, Wal, recover, restore_logical, unpack};
use embermesh_config::{Config, Database, Secret};
use embermesh_cost_ledger::{BackupRun, books, record_backup};
use embermesh_lifecycle::Lifecycle;
use embermesh_private_postgres::{Options, PrivatePostgres};
use embermesh_process::BoxError;
use embermesh_telemetry::Metrics;
use embermesh_types::Clock;
use embermesh_vector_store::{contents, same_answers};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use super::{
    backup::{say, say_error},
    place::{DATABASE, Place, PlaceArguments, fetching},
    restore::recovered_to,
};
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Rows so young may have been committed after what was recovered.
const MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// The arguments of `embermesh drill`.
#[derive(Debug, Clone, Args)]
pub struct DrillArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// What to restore: base, or logical
    #[arg(long, value_name = "KIND", default_value = "base")]
    kind: Kind,
    /// The backup's name; default: the newest
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    /// How far: latest, random (a moment between the backup and the last of the log), or a time. Of base backups
    #[arg(long, value_name = "WHEN", default_value = "latest", value_parser = at)]
    at: At,
    /// Stored vectors that both systems are asked about, where the one that was backed up can be reached
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    queries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Latest,
    Random,
    Time(Timestamp),
}

fn at(text: &str) -> Result<At, String> {
    match text {
        "latest" => Ok(At::Latest),
        "random" => Ok(At::Random),
        time => time
            .parse()
            .map(At::Time)
            .map_err(|_| "write latest, random, or a time such as 2026-11-30T12:00:00Z".to_owned()),
    }
}

/// Exits with 0 when everything is as it should be, with 1 when something is not or the drill could not be held.
pub fn run(arguments: &DrillArguments) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match runtime.and_then(|runtime| runtime.block_on(drill(arguments))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// What was found, line by line.
#[derive(Default)]
struct Findings {
    failed: bool,
}

impl Findings {
    fn tell(&mut self, good: bool, what: &str) -> Result<(), BoxError> {
        self.failed |= !good;
        Ok(say(&format!("{}  {what}", if good { "ok    " } else { "FAILED" }))?)
    }
}

async fn drill(arguments: &DrillArguments) -> Result<bool, BoxError> {
    let mut place = Place::find(&arguments.place)?;
    // it may be what is lost: then there is nothing to compare with
    let source = place.attach().and_then(|()| Ok(place.config.database.for_store()?)).ok();
    let storage = place.postgres_storage().await?;
    let (begun, clock) = (Instant::now(), Clock::system());
    let mut findings = Findings::default();

    let scratch = TempDir::with_prefix("embermesh-drill-")?;
    let restored = bring_up(&place, &storage, arguments, scratch.path(), &mut findings).await?;
    let rto = begun.elapsed();
    // the log goes on being archived meanwhile, and what came of it until now is in there
    let rpo = clock.now().duration_since(restored.to.into()).unwrap_or_default();
    findings.tell(true, &format!("{} answers, restored to {}", restored.manifest.id, restored.to))?;

    let checked = check(&place, &restored, source.as_ref(), arguments.queries, &mut findings).await;
    restored.server.stop().await?;
    checked?;

    say(&format!("RPO {:.1} s: the last restored commit is so old", rpo.as_secs_f64()))?;
    say(&format!("RTO {:.1} s: until the restored database answered", rto.as_secs_f64()))?;
    if findings.failed {
        say("the drill FAILED")?;
        return Ok(false);
    }
    say("the drill is green")?;
    if source.is_some() {
        let run = BackupRun {
            kind: "drill".to_owned(),
            succeeded_at: clock.now(),
            bytes: 0,
            // a moment in the past was chosen, so its distance says nothing of what would be lost
            rpo_seconds: restored.is_latest.then_some(rpo.as_secs_f64()),
            rto_seconds: Some(rto.as_secs_f64()),
        };
        if let Err(error) = record_backup(&place.config, &run).await {
            say_error(&format!("the ledger's metrics will not show the drill: {error}").into());
        }
    }
    Ok(true)
}

/// A restored server.
struct Restored {
    manifest: Manifest,
    server: PrivatePostgres,
    url: SecretString,
    /// The last commit in it.
    to: Timestamp,
    is_latest: bool,
    /// What went along with the backup.
    files: std::path::PathBuf,
}

async fn bring_up(
    place: &Place,
    storage: &Storage,
    arguments: &DrillArguments,
    scratch: &Path,
    findings: &mut Findings,
) -> Result<Restored, BoxError> {
    let catalogue = Catalogue::new(storage.clone());
    let until = if let At::Time(time) = arguments.at { Some(time) } else { None };
    let manifest = catalogue.find(arguments.kind, arguments.backup.as_deref(), until).await?;
    let fetched = scratch.join("fetched");
    fs::create_dir(&fetched)?;
    let checked = catalogue.fetch(&manifest, &fetched).await?;
    findings.tell(true, &format!("{}: {} files as they were written", manifest.id, checked.files))?;
    match arguments.kind {
        Kind::Base => base(place, storage, &manifest, arguments.at, scratch, findings).await,
        Kind::Logical => logical(place, &manifest, scratch).await,
        Kind::Redis => Err("nothing depends on Redis: a snapshot of it is verified, not drilled".into()),
    }
}

fn options(place: &Place, scratch: &Path) -> Options {
    Options {
        install_dir: place.arguments.postgres_dir.clone(),
        candidates: tools::candidates("postgres"),
        durable: false,
        start_timeout: PATIENCE,
        ..Options::new(scratch.join("postgres"))
    }
}

async fn logical(place: &Place, manifest: &Manifest, scratch: &Path) -> Result<Restored, BoxError> {
    let mut dumps = manifest.files.iter().filter(|file| file.name.ends_with(".dump"));
    let (Some(dump), None) = (dumps.next(), dumps.next()) else {
        return Err("a drill is of one database; restore the dumps of several one by one".into());
    };
    let server =
        PrivatePostgres::start(Options { database: DATABASE.to_owned(), ..options(place, scratch) }).await?;
    let url = server.connection_url().clone();
    restore_logical(&place.programs()?, &scratch.join("fetched").join(&dump.name), &url).await?;
    let files = scratch.join("fetched/files");
    Ok(Restored { manifest: manifest.clone(), server, url, to: manifest.begun_at, is_latest: true, files })
}

async fn base(
    place: &Place,
    storage: &Storage,
    manifest: &Manifest,
    at: At,
    scratch: &Path,
    findings: &mut Findings,
) -> Result<Restored, BoxError> {
    let server = manifest.server.as_ref().ok_or("the manifest does not say of which server the backup is")?;
    let from = server.wal_from.as_deref().ok_or("the manifest does not say where the log begins")?;
    let (segments, archived) = Wal::new(storage.clone()).check(from, server.segment_bytes, false).await?;
    findings.tell(true, &format!("{segments} segments of the log from {from} on, none is missing"))?;
    let recovery = match at {
        At::Latest => Recovery::Latest,
        At::Time(time) => Recovery::To(time),
        At::Random => random(manifest.finished_at, &archived),
    };
    let mut options = options(place, scratch);
    options.database = manifest.databases.first().map_or(DATABASE, |database| &database.name).to_owned();
    options.user.clone_from(&server.user);
    // its own log must not go where that of the original goes, and what the original loads and listens to may not be here
    let settings = ["hot_standby=off", "archive_mode=off", "ssl=off", "shared_preload_libraries="];
    options.settings = settings.map(str::to_owned).to_vec();
    let cluster = PrivatePostgres::cluster_dir(&options.data_dir);
    fs::create_dir(&options.data_dir)?;
    unpack(&place.programs()?, &scratch.join("fetched"), &cluster).await?;
    findings.tell(true, "pg_verifybackup: every file of the cluster is as it was")?;
    recover(&cluster, &fetching(&place.postgres_storage_url()?)?, recovery)?;
    // nobody but who may enter this folder reaches it, and its passwords are not ours to know
    fs::write(cluster.join("pg_hba.conf"), "local all all trust\n")?;
    fs::write(options.data_dir.join("password"), "none\n")?;
    for name in ["postgresql.conf", "pg_ident.conf"] {
        if !cluster.join(name).exists() {
            fs::write(cluster.join(name), "")?;
        }
    }
    let started = PrivatePostgres::start(options).await?;
    let url = started.connection_url().clone();
    let to = recovered_to(&url, manifest.finished_at).await?;
    let is_latest = recovery == Recovery::Latest;
    if let Recovery::To(time) = recovery {
        findings.tell(to <= time, &format!("asked for {time}, and nothing later than that is there"))?;
    }
    let files = scratch.join("fetched/files");
    Ok(Restored { manifest: manifest.clone(), server: started, url, to, is_latest, files })
}

/// A moment that the archived log surely reaches: what the last segment holds was written after the one before it was archived.
fn random(from: Timestamp, archived: &[Timestamp]) -> Recovery {
    let [before_last, _] = archived else { return Recovery::Latest };
    let span = before_last.duration_since(from);
    if span <= SignedDuration::ZERO {
        return Recovery::Latest;
    }
    let chosen = span.mul_f64(rand::random_range(0.0..1.0));
    Recovery::To(from + chosen)
}

async fn check(
    place: &Place,
    restored: &Restored,
    source: Option<&SecretString>,
    queries: u32,
    findings: &mut Findings,
) -> Result<(), BoxError> {
    let mut config = place.config.clone();
    config.database =
        Database { url: Some(Secret::new(restored.url.expose_secret())), ..Database::default() };

    // brings the books to this release too
    embermesh_cost_ledger::migrate(&config).await?;
    let money = books(&config).await?;
    for line in money.differences.iter().take(10) {
        say(&format!("        {line}"))?;
    }
    findings.tell(money.balanced, &format!("books: {}", money.summary))?;

    audit(config.clone(), &restored.files, findings).await?;

    let held = contents(&restored.url).await?;
    let told = format!("{} rows, {} keys, {} without the other", held.rows, held.keys, held.astray);
    findings.tell(held.astray == 0, &told)?;

    match source {
        None => say("        the original cannot be reached, so nothing was compared with it")?,
        Some(source) => {
            let until = SystemTime::from(restored.to - MARGIN);
            let compared = same_answers(&restored.url, source, queries.into(), until).await?;
            let told =
                format!("{} stored vectors have the same neighbours as in the original", compared.asked);
            let different = compared.different.len();
            let told = if different > 0 { format!("{told}, but {different} have others") } else { told };
            findings.tell(different == 0, &told)?;
        }
    }
    Ok(())
}

/// Verifies the record of changes with the key that went along with the backup, or the one that is configured.
async fn audit(mut config: Config, files: &Path, findings: &mut Findings) -> Result<(), BoxError> {
    let along = files.join("audit.key").is_file();
    config.data_dir = along.then(|| files.to_owned());
    let mut settings = embermesh_admin::settings(&config)?;
    // rotations and the like are for the original to do
    settings.security = Default::default();
    if !along && settings.audit_key_file.is_none() {
        return Ok(say(
            "        audit: not verified, its key is not in the backup and admin.audit_key_file names none",
        )?);
    }
    let lifecycle = Lifecycle::new(Duration::ZERO, Duration::from_secs(10));
    let parts = embermesh_admin::Parts {
        database_url: config.database.for_admin()?,
        tasks: lifecycle.tasks.clone(),
        readiness: lifecycle.readiness.clone(),
        metrics: Metrics::default(),
        clock: Clock::system(),
    };
    let admin = AdminService::start(settings, parts).await?;
    let verified = admin.verify_audit().await?;
    for fault in verified.faults.iter().take(10) {
        say(&format!("        {} at {}", fault.what, fault.number))?;
    }
    let told = format!(
        "audit: {} records, {} anchors, {} faults",
        verified.records,
        verified.anchors,
        verified.faults.len()
    );
    findings.tell(verified.intact, &told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_moment_lies_within_what_is_archived() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, last) = (time("2026-11-30T12:00:00Z"), time("2026-11-30T13:00:00Z"));
        for _ in 0..100 {
            let Recovery::To(chosen) = random(from, &[last, time("2026-11-30T14:00:00Z")]) else { panic!() };
            assert!((from..=last).contains(&chosen));
        }
        assert_eq!(random(from, &[last]), Recovery::Latest);
        assert_eq!(random(last, &[from, last]), Recovery::Latest);
    }

    #[test]
    fn a_moment_is_typed_in_three_ways() {
        assert_eq!((at("latest"), at("random")), (Ok(At::Latest), Ok(At::Random)));
        assert!(matches!(at("2026-11-30T12:00:00Z"), Ok(At::Time(_))) && at("yesterday").is_err());
    }
}
