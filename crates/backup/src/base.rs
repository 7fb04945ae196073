//! `pg_basebackup` and back: the whole server, indexes included. With the archived log it can be brought to any later moment.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use embermesh_private_postgres::Programs;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    BackupError, Storage,
    error::file,
    logical::{database, server},
    manifest::{Kind, Manifest},
    programs::{Login, run},
    taking::{Extra, Taking},
    wal::segment_at,
};

const CLUSTER: &str = "base.tar.gz";
const LOG: &str = "pg_wal.tar.gz";
/// PostgreSQL's own, with a checksum of every file of the cluster.
const FILES: &str = "backup_manifest";

/// How far a restored server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// As far as the archived log does.
    Latest,
    /// To the last commit at or before a moment.
    To(Timestamp),
}

/// Backs a server up while it runs.
///
/// # Errors
/// When `pg_basebackup` fails or the storage does: then nothing counts as a backup.
pub async fn take(
    storage: &Storage,
    programs: &Programs,
    url: &SecretString,
    extras: &[Extra],
) -> Result<Manifest, BackupError> {
    let login = Login::of(url)?;
    let mut taking = Taking::begin(storage, Kind::Base);
    let mut server = server(url, &login).await?;
    let database = database(url, &login.database).await?;
    let staging = storage.staging()?;
    let target = staging.path().join("base");
    let mut command = programs.command("pg_basebackup");
    command.args(["--format=tar", "--gzip", "--wal-method=stream", "--checkpoint=fast", "--no-password"]);
    command.args(["--manifest-checksums=SHA256", &format!("--label={}", taking.id())]);
    command.arg("--pgdata").arg(&target).arg("--dbname").arg(&login.url);
    login.admit(&mut command);
    run(command).await?;
    for entry in fs::read_dir(&target).map_err(file(&target))? {
        let name = entry.map_err(file(&target))?.file_name();
        if ![CLUSTER, LOG, FILES].iter().any(|known| name == *known) {
            let name = name.to_string_lossy();
            return Err(BackupError::Setting(format!(
                "the server has tablespaces ({name}), which are not backed up"
            )));
        }
    }
    server.wal_from = Some(first_segment(&target.join(FILES), server.segment_bytes)?);
    for name in [CLUSTER, LOG, FILES] {
        taking.add(name, &target.join(name)).await?;
    }
    taking.add_extras(extras).await?;
    taking.finish(Some(server), vec![database]).await
}

#[derive(Deserialize)]
struct PostgresManifest {
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
}

fn first_segment(manifest: &Path, segment_bytes: u64) -> Result<String, BackupError> {
    let text = fs::read(manifest).map_err(file(manifest))?;
    let wrong = |why: &str| BackupError::Damaged(format!("{} {why}", manifest.display()));
    let read: PostgresManifest =
        serde_json::from_slice(&text).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let first = read.ranges.iter().min_by_key(|range| range.timeline).ok_or_else(|| wrong("names no log"))?;
    segment_at(first.timeline, &first.start, segment_bytes)
        .ok_or_else(|| wrong("names no position of the log"))
}

/// Lays a fetched base backup out as a cluster in `cluster`, which must not be there, and has PostgreSQL check every file of it.
///
/// # Errors
/// [`BackupError::Damaged`] or [`BackupError::Program`] when a file is not what it was; [`BackupError::InTheWay`].
pub async fn unpack(programs: &Programs, fetched: &Path, cluster: &Path) -> Result<(), BackupError> {
    if cluster.exists() {
        return Err(BackupError::InTheWay(format!("{} is there already", cluster.display())));
    }
    fs::DirBuilder::new().mode(0o700).create(cluster).map_err(file(cluster))?;
    let (from, to) = (fetched.to_owned(), cluster.to_owned());
    let unpacked = tokio::task::spawn_blocking(move || {
        extract(&from.join(CLUSTER), &to)?;
        let log = to.join("pg_wal");
        fs::create_dir_all(&log).map_err(file(&log))?;
        extract(&from.join(LOG), &log)?;
        let manifest = to.join(FILES);
        fs::copy(from.join(FILES), &manifest).map(drop).map_err(file(&manifest))
    });
    unpacked.await.map_err(|error| BackupError::Damaged(error.to_string()))??;
    let mut command = programs.command("pg_verifybackup");
    command.arg("--quiet").arg(cluster);
    run(command).await.map(drop)
}

fn extract(archive: &Path, to: &Path) -> Result<(), BackupError> {
    let source = File::open(archive).map_err(file(archive))?;
    // pg_basebackup ends the compression before each header of the log and begins it anew
    let mut archive = tar::Archive::new(MultiGzDecoder::new(source));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.unpack(to).map_err(file(to))
}

/// Tells a server how to bring itself up to the moment when it starts. `fetch` is a command with `%f` and `%p`, as PostgreSQL takes it.
///
/// # Errors
/// When the files cannot be written.
pub fn recover(cluster: &Path, fetch: &str, recovery: Recovery) -> Result<(), BackupError> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let time = match recovery {
        Recovery::Latest => String::new(),
        // with a `Z` at its end PostgreSQL does not read it here
        Recovery::To(time) => time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(),
    };
    // what an earlier restore left there must not count; other targets are not named, because even an empty one beside a time is refused
    let lines = [
        ("restore_command", fetch),
        ("recovery_target_time", &time),
        ("recovery_target_action", "promote"),
        ("recovery_target_timeline", "latest"),
    ];
    let auto = cluster.join("postgresql.auto.conf");
    let write = || {
        let mut settings = OpenOptions::new().append(true).create(true).mode(0o600).open(&auto)?;
        for (name, value) in lines {
            writeln!(settings, "{name} = {}", quoted(value))?;
        }
        settings.sync_all()?;
        File::create(cluster.join("recovery.signal"))?.sync_all()
    };
    write().map_err(file(&auto))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_postgresql_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let time = "2026-11-30T12:00:00.25Z".parse().unwrap();
        recover(dir.path(), "fetch '/it's' %f \"%p\"", Recovery::To(time)).unwrap();
        let auto = fs::read_to_string(dir.path().join("postgresql.auto.conf")).unwrap();
        assert!(auto.contains("recovery_target_time = '2026-11-30 12:00:00.250000+00'\n"), "{auto}");
        assert!(auto.contains("restore_command = 'fetch ''/it''s'' %f \"%p\"'\n"), "{auto}");
        assert!(dir.path().join("recovery.signal").exists());
    }

    #[test]
    fn the_first_segment_is_where_the_backup_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILES);
        fs::write(
            &path,
            r#"{"WAL-Ranges": [{"Timeline": 2, "Start-LSN": "0/5000028", "End-LSN": "0/5000100"}]}"#,
        )
        .unwrap();
        assert_eq!(first_segment(&path, 1 << 24).unwrap(), "000000020000000000000005");
    }
}
