//! Months in files: `space_1_2026_01.copy` is PostgreSQL's binary `COPY` of the rows, `space_1_2026_01.json` tells what it is.
//!
//! The manifest appears when the file is whole and on the disk, and only then the month is dropped. An archiving that was cut off at
//! any line is taken up by the next one. A month that came back and leaves again is another month: its files are `…-2`, and so on, and
//! those of before stay as they are.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use embermesh_postgres::DbError;
use futures::stream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::month::Month,
    store::{Leaving, Store},
};

/// Of the files; later ones are refused. The first has no `truncated`, and no `id`.
const FORMAT: u32 = 2;
const READ_AT_ONCE: usize = 1 << 20;

/// Why a month could not be archived or brought back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error(
        "months from {0} on are not over, rows still go into them; the first month that stays can be {0} at the latest"
    )]
    NotOver(Month),
    #[error("another process archives at this moment")]
    Busy,
    #[error("{path}: {mistake}")]
    Unusable { path: PathBuf, mistake: String },
}

/// What an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// Of the month that was taken out, so that one of the same name is not taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// The embedding space, without which the numbers mean nothing.
    pub(crate) space_id: String,
    /// The SQL type of its vectors.
    vector: String,
    pub(crate) month: String,
    pub(crate) rows: u64,
    bytes: u64,
    /// Of the file, in hexadecimal digits.
    blake3: String,
}

/// Archives every month of every space that lies before this one; returns what was written.
pub(crate) async fn archive(
    store: &Store,
    before: Month,
    folder: &Path,
) -> Result<Vec<Manifest>, ArchiveError> {
    let now = Month::of(store.now());
    if before > now {
        return Err(ArchiveError::NotOver(now));
    }
    fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    let right = store.may_archive().await?.ok_or(ArchiveError::Busy)?;
    let mut written = Vec::new();
    for leaving in store.leaving(before).await? {
        store.detach(&leaving).await?;
        let rows = store.rows_of(&leaving).await?;
        if rows > 0 {
            written.push(write(store, &leaving, rows, folder).await?);
        }
        store.forget(&leaving).await?;
        tracing::info!(space = %leaving.space_id, month = %leaving.month, rows, "month is archived");
    }
    right.rollback().await?;
    Ok(written)
}

async fn write(store: &Store, leaving: &Leaving, rows: u64, folder: &Path) -> Result<Manifest, ArchiveError> {
    let id = store.identify(leaving).await?;
    let mut turn = 1;
    let (path, manifest) = loop {
        let (path, manifest) = places(folder, &leaving.table, turn);
        match read_manifest(&manifest) {
            // of an archiving that was cut off later, when keys were on their way out
            Ok(whole) if whole.id == Some(id) && check(&whole, &path).is_ok() => return Ok(whole),
            // a manifest alone is no archive
            Ok(other) if other.id != Some(id) && path.exists() => turn += 1,
            Ok(_) | Err(_) => break (path, manifest),
        }
    };
    let part = path.with_extension("part");
    let mut file = File::create(&part).map_err(|error| at(&part, error))?;
    let (mut hash, mut bytes) = (blake3::Hasher::new(), 0);
    let take = |piece: Bytes| {
        hash.update(&piece);
        bytes += piece.len() as u64;
        file.write_all(&piece).map_err(|error| at(&part, error))
    };
    store.write_out(leaving, take).await?;
    file.sync_all().map_err(|error| at(&part, error))?;
    fs::rename(&part, &path).map_err(|error| at(&path, error))?;
    let Leaving { space_id, vector, month, .. } = leaving;
    let written = Manifest {
        format: FORMAT,
        id: Some(id),
        space_id: space_id.clone(),
        vector: vector.clone(),
        month: month.to_string(),
        rows,
        bytes,
        blake3: hash.finalize().to_hex().to_string(),
    };
    write_manifest(&manifest, &written)?;
    Ok(written)
}

/// Of the rows and of the manifest, when a month of this name leaves for the first time or again.
fn places(folder: &Path, table: &str, turn: u32) -> (PathBuf, PathBuf) {
    let again = if turn == 1 { String::new() } else { format!("-{turn}") };
    (folder.join(format!("{table}{again}.copy")), folder.join(format!("{table}{again}.json")))
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), ArchiveError> {
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| unusable(path, &error))?;
    let part = path.with_extension("manifest");
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        // the names too
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| at(path, error))
}

fn read_manifest(path: &Path) -> Result<Manifest, ArchiveError> {
    let text = fs::read(path).map_err(|error| at(path, error))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| unusable(path, &error))?;
    if manifest.format > FORMAT {
        return Err(unusable(
            path,
            &format!("format {} is not known, this release reads up to {FORMAT}", manifest.format),
        ));
    }
    Ok(manifest)
}

/// Brings an archive back, given its manifest; returns what it is and how many rows were not there yet.
pub(crate) async fn restore(store: &Store, path: &Path) -> Result<(Manifest, u64), ArchiveError> {
    let manifest = read_manifest(path)?;
    let data = path.with_extension("copy");
    check(&manifest, &data)?;
    let month = manifest.month.parse().map_err(|error| unusable(path, &error))?;
    let space = store.space_for(&manifest.space_id, &manifest.vector).await?.ok_or_else(|| {
        unusable(
            path,
            &format!(
                "the space {} keeps its vectors in another form than {}",
                manifest.space_id, manifest.vector
            ),
        )
    })?;
    let file = File::open(&data).map_err(|error| at(&data, error))?;
    let pieces = stream::iter(pieces(file, &data));
    let more = if manifest.format == 1 { "dedup_hash" } else { "dedup_hash, truncated" };
    let (back, held) = store.bring_back(space, month, more, pieces).await?;
    if held != manifest.rows {
        return Err(unusable(
            &data,
            &format!("it holds {held} rows, its manifest speaks of {}", manifest.rows),
        ));
    }
    Ok((manifest, back))
}

/// Before anything is written: a file that was changed brings nothing back.
fn check(manifest: &Manifest, data: &Path) -> Result<(), ArchiveError> {
    let mut hash = blake3::Hasher::new();
    let file = File::open(data).map_err(|error| at(data, error))?;
    hash.update_reader(BufReader::new(file)).map_err(|error| at(data, error))?;
    if hash.finalize().to_hex().as_str() != manifest.blake3 {
        return Err(unusable(
            data,
            &"it is not the file that was written: its hash differs from that in the manifest",
        ));
    }
    Ok(())
}

fn pieces(mut file: File, path: &Path) -> impl Iterator<Item = Result<Bytes, ArchiveError>> {
    std::iter::from_fn(move || {
        let mut piece = vec![0; READ_AT_ONCE];
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(at(path, error))),
        }
    })
}

fn at(path: &Path, error: io::Error) -> ArchiveError {
    ArchiveError::File { path: path.to_owned(), error }
}

fn unusable(path: &Path, mistake: &impl ToString) -> ArchiveError {
    ArchiveError::Unusable { path: path.to_owned(), mistake: mistake.to_string() }
}
