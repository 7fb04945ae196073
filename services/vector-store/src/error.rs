//! What callers see of a failing database, and why the service cannot start.

use embermesh_errors::{Code, Error};
use embermesh_postgres::DbError;

/// Why the store cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database refuses, or cannot be reached or migrated.
    #[error("vector store: {0}")]
    Database(#[from] DbError),
    /// A setting is out of range.
    #[error("vector store: {0}")]
    Setting(String),
    /// Without iterative scans a filtered search through an index returns too few rows.
    #[error(
        "vector store: pgvector {0} is installed, 0.8 or later is needed; update it and run ALTER EXTENSION vector UPDATE"
    )]
    Pgvector(String),
    /// Redis is configured wrongly.
    #[error("vector store: {0}")]
    Redis(#[from] embermesh_cache::SettingsError),
    /// A metric cannot be made.
    #[error("vector store: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The caller's view; the operator's is logged here, where the error is handled.
pub(crate) fn of_database(error: DbError) -> Error {
    match error {
        DbError::Cancelled(_) => Error::new(
            Code::DeadlineExceeded,
            "the database took too long; narrow the filter, or ask for fewer rows at once",
        ),
        error if error.is_retryable() => {
            tracing::warn!(%error, "the database cannot serve now");
            Error::unavailable("the vector database cannot serve now, try again")
        }
        error => {
            tracing::error!(%error, "the database refused a statement");
            Error::internal("the vector database refused a statement, report the request id")
        }
    }
}
