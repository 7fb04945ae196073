//! A backup on its way to the storage. Until its manifest is written, which is last, it does not count.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use embermesh_types::Clock;
use jiff::Timestamp;

use crate::{
    BackupError, Storage,
    error::file,
    manifest::{Database, FORMAT, File as Entry, Kind, Manifest, Server},
};

pub(crate) const MANIFEST: &str = "manifest.json";

/// A file of this machine that goes along with a backup.
#[derive(Debug, Clone)]
pub struct Extra {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name in the backup, below `files/`.
    pub name: String,
}

/// A backup that is being written.
pub(crate) struct Taking<'a> {
    storage: &'a Storage,
    id: String,
    kind: Kind,
    begun_at: Timestamp,
    files: Vec<Entry>,
}

impl<'a> Taking<'a> {
    pub(crate) fn begin(storage: &'a Storage, kind: Kind) -> Self {
        let begun_at = now();
        // of two that begin in the same second, neither is the other
        let id = format!("{kind}-{}-{:04x}", begun_at.strftime("%Y%m%dT%H%M%SZ"), rand::random::<u16>());
        Self { storage, id, kind, begun_at, files: Vec::new() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Takes a file over.
    pub(crate) async fn add(&mut self, name: &str, source: &Path) -> Result<(), BackupError> {
        let (bytes, blake3) = hash(source)?;
        self.storage.put(&format!("{}/{name}", self.id), source).await?;
        self.files.push(Entry { name: name.to_owned(), bytes, blake3 });
        Ok(())
    }

    /// Copies what goes along.
    pub(crate) async fn add_extras(&mut self, extras: &[Extra]) -> Result<(), BackupError> {
        let staging = self.storage.staging()?;
        for (at, extra) in extras.iter().enumerate() {
            let copy = staging.path().join(at.to_string());
            fs::copy(&extra.path, &copy).map_err(file(&extra.path))?;
            self.add(&format!("files/{}", extra.name), &copy).await?;
        }
        Ok(())
    }

    /// Makes a backup of it.
    pub(crate) async fn finish(
        self,
        server: Option<Server>,
        databases: Vec<Database>,
    ) -> Result<Manifest, BackupError> {
        let Self { storage, id, kind, begun_at, files } = self;
        let manifest =
            Manifest { format: FORMAT, id, kind, begun_at, finished_at: now(), server, databases, files };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| BackupError::Damaged(format!("the manifest cannot be written: {error}")))?;
        storage.put_bytes(&format!("{}/{MANIFEST}", manifest.id), text.into()).await?;
        Ok(manifest)
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(Clock::system().now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Bytes and BLAKE3.
pub(crate) fn hash(path: &Path) -> Result<(u64, String), BackupError> {
    let mut hasher = blake3::Hasher::new();
    let source = File::open(path).map_err(file(path))?;
    hasher.update_reader(source).map_err(file(path))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}
