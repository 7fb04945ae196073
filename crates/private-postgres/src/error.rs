//! Why the private server could not be started or stopped, and what to do about it.

use std::path::PathBuf;

/// The private PostgreSQL could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No usable PostgreSQL with pgvector anywhere.
    #[error(
        "no PostgreSQL with pgvector found ({searched}); run scripts/setup.sh, or name one with --postgres-dir or \
         EMBERMESH_POSTGRES_DIR, or set DATABASE_URL"
    )]
    NotInstalled {
        /// Each place looked at and what is wrong with it.
        searched: String,
    },
    /// Another live process owns the directory.
    #[error("{} is in use by process {pid}; stop that one or use another data directory", .dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process that owns it.
        pid: String,
    },
    /// The cluster was made by another major version.
    #[error(
        "{} was made by PostgreSQL {found}, the installed one is {installed}; use that version or an empty directory",
        .dir.display()
    )]
    WrongVersion {
        /// The data directory.
        dir: PathBuf,
        /// The cluster's major version.
        found: String,
        /// The programs' major version.
        installed: String,
    },
    /// The cluster is there but the file with its password is not.
    #[error("{} is missing although {} holds a cluster; restore it", .password.display(), .dir.display())]
    PasswordLost {
        /// The password file.
        password: PathBuf,
        /// The data directory.
        dir: PathBuf,
    },
    /// PostgreSQL refuses to run as root and nobody else can be found to run it.
    #[error("PostgreSQL does not run as root, and {0}")]
    NoAccount(String),
    /// One of PostgreSQL's programs failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server runs but does not answer.
    #[error("postgresql did not accept connections within {seconds} s: {reason}; see {}", .log.display())]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// The last refusal.
        reason: String,
        /// The directory of its logs.
        log: PathBuf,
    },
    /// Setting up the database inside the running server failed.
    #[error("setting up the database: {0}")]
    Database(String),
    /// A file operation failed.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The server is still running after every way of asking it to stop.
#[derive(Debug, thiserror::Error)]
#[error("postgresql (process {pid}) does not stop: {reason}")]
pub struct StopError {
    /// The server's main process.
    pub pid: i32,
    /// What was met.
    pub reason: String,
}

/// Gives a file operation's error its context.
pub(crate) fn file<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> StartError + use<'a> {
    move |source| StartError::File { action, path: path.to_owned(), source }
}
