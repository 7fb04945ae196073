//! Why a backup or a restore came to nothing, and what to do.

use std::{io, path::Path};

use embermesh_postgres::DbError;
use embermesh_private_postgres::StartError;

/// A backup or a restore failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file of this machine.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The storage cannot be reached, or refuses.
    #[error("{storage}: {why}")]
    Storage {
        /// Where backups are kept.
        storage: String,
        /// What was met.
        why: String,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// What was written is not what is there.
    #[error("{0}")]
    Damaged(String),
    /// There is no such backup, or none at all.
    #[error("{0}")]
    NotFound(String),
    /// Something is there already.
    #[error("{0}; nothing was changed")]
    InTheWay(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// PostgreSQL's programs are missing, or a server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Gives a file operation's error its context.
pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.display().to_string();
    move |error| BackupError::File { path, error }
}
