//! Where backups are kept: a folder, or a bucket of S3 or of a server that speaks its protocol.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{BackupError, directory::Directory, error::file, s3::S3};

/// A folder or a bucket. Names in it are paths with `/`. Whatever is there is whole: nobody sees half of a file.
#[derive(Debug, Clone)]
pub enum Storage {
    /// On this machine, or mounted there.
    Directory(Directory),
    /// Elsewhere.
    S3(S3),
}

/// What lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: Timestamp,
}

impl Storage {
    /// Opens `s3://bucket/prefix`, or a folder as an absolute path or `file://` URL. Credentials and region of S3 are the machine's own:
    /// `AWS_ACCESS_KEY_ID` and the like, a profile, or a role; `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names another server.
    ///
    /// # Errors
    /// [`BackupError::Setting`] when it is none of these.
    pub async fn open(url: &str) -> Result<Self, BackupError> {
        match parse(url)? {
            Place::Folder(path) => Ok(Self::Directory(Directory::new(path))),
            Place::Bucket { bucket, prefix } => Ok(Self::S3(S3::open(bucket, prefix).await)),
        }
    }

    /// Whether [`Self::open`] will know what to do.
    ///
    /// # Errors
    /// [`BackupError::Setting`].
    pub fn check(url: &str) -> Result<(), BackupError> {
        parse(url).map(drop)
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory.root()),
            Self::S3(_) => None,
        }
    }

    /// A folder for files that are to be put: on the same file system where that saves a copy.
    pub(crate) fn staging(&self) -> Result<TempDir, BackupError> {
        match self {
            Self::Directory(directory) => directory.staging(),
            Self::S3(_) => TempDir::with_prefix("embermesh-backup-").map_err(file(&std::env::temp_dir())),
        }
    }

    /// Takes a file over, which is gone afterwards, or of no use.
    pub(crate) async fn put(&self, name: &str, source: &Path) -> Result<(), BackupError> {
        match self {
            Self::Directory(directory) => directory.put(name, source),
            Self::S3(s3) => s3.put(name, source).await,
        }
    }

    pub(crate) async fn put_bytes(&self, name: &str, bytes: Bytes) -> Result<(), BackupError> {
        match self {
            Self::Directory(directory) => directory.put_bytes(name, &bytes, true).map(drop),
            Self::S3(s3) => s3.put_bytes(name, bytes, true).await.map(drop),
        }
    }

    /// `false`: something of that name is there, and stays.
    pub(crate) async fn put_new(&self, name: &str, bytes: Bytes) -> Result<bool, BackupError> {
        match self {
            Self::Directory(directory) => directory.put_bytes(name, &bytes, false),
            Self::S3(s3) => s3.put_bytes(name, bytes, false).await,
        }
    }

    /// Copies to a file, which must not be there.
    pub(crate) async fn get(&self, name: &str, to: &Path) -> Result<(), BackupError> {
        match self {
            Self::Directory(directory) => directory.get(name, to),
            Self::S3(s3) => s3.get(name, to).await,
        }
    }

    /// `None`: it is not there.
    pub(crate) async fn get_bytes(&self, name: &str) -> Result<Option<Bytes>, BackupError> {
        match self {
            Self::Directory(directory) => directory.get_bytes(name),
            Self::S3(s3) => s3.get_bytes(name).await,
        }
    }

    /// Everything whose name begins so, in the order of the names.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Object>, BackupError> {
        match self {
            Self::Directory(directory) => directory.list(prefix),
            Self::S3(s3) => s3.list(prefix).await,
        }
    }

    /// It is no error that it is not there.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), BackupError> {
        match self {
            Self::Directory(directory) => directory.delete(name),
            Self::S3(s3) => s3.delete(name).await,
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.root().display()),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

fn parse(url: &str) -> Result<Place, BackupError> {
    let wrong = || {
        BackupError::Setting(format!(
            "`{url}` is no place for backups: write s3://bucket/prefix or an absolute path"
        ))
    };
    if let Some(rest) = url.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if bucket.is_empty() || !bucket.chars().all(named) {
            return Err(wrong());
        }
        return Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() });
    }
    let path = Path::new(url.strip_prefix("file://").unwrap_or(url));
    if path.is_absolute() { Ok(Place::Folder(path.to_owned())) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_or_an_absolute_path() {
        let bucket = |bucket: &str, prefix: &str| Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(parse("s3://backups/embeddings/").unwrap(), bucket("backups", "embeddings"));
        assert_eq!(parse("s3://backups").unwrap(), bucket("backups", ""));
        assert_eq!(parse("/var/backups").unwrap(), Place::Folder("/var/backups".into()));
        assert_eq!(parse("file:///var/backups").unwrap(), Place::Folder("/var/backups".into()));
        for wrong in ["", "s3://", "s3:///x", "s3://UPPER/x", "backups", "gs://x/y"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
