//! What can go wrong with PostgreSQL, sorted by what the caller can do about it.

use std::error::Error as _;

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::error::{DbError as ServerError, SqlState};

/// A failed database operation.
///
/// It deliberately has no `source()`: PostgreSQL's detail lines quote parameters and whole rows, which may hold
/// customers' text, and error chains end up in logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// PostgreSQL cannot be reached, is starting or stopping, or has run out of a resource. Nothing is known about a
    /// write that was under way.
    #[error("postgresql is unavailable: {0}")]
    Unavailable(String),
    /// Every connection stayed in use for the whole `acquire_timeout`.
    #[error("no free database connection within the acquire timeout; raise max_open_conns or lower the load")]
    PoolTimeout,
    /// The statement ran into its timeout or was cancelled; it changed nothing.
    #[error("the statement was cancelled: {0}")]
    Cancelled(String),
    /// Serialization failure, deadlock, or a lock that could not be had: the transaction changed nothing.
    #[error("the transaction lost a conflict and can be repeated: {0}")]
    Conflict(String),
    /// A statement prepared before a change of its tables; the next attempt prepares it anew.
    #[error("a prepared statement became outdated by a schema change; repeat it")]
    StalePlan,
    /// A unique or exclusion constraint refused a row.
    #[error("unique constraint {constraint} is violated")]
    UniqueViolation {
        /// The constraint's name.
        constraint: String,
    },
    /// A foreign key refused a row.
    #[error("foreign key {constraint} is violated")]
    ForeignKeyViolation {
        /// The constraint's name.
        constraint: String,
    },
    /// A check constraint refused a row.
    #[error("check constraint {constraint} is violated")]
    CheckViolation {
        /// The constraint's name.
        constraint: String,
    },
    /// The role lacks a privilege, or row-level security refused a row.
    #[error("postgresql denied it: {0}")]
    Denied(String),
    /// `query_one` met no row or several.
    #[error("expected one row, got {0}")]
    RowCount(usize),
    /// Another statement of the transaction had failed, which tells why; PostgreSQL rolls all of it back.
    #[error("another statement of the transaction failed, nothing was committed")]
    Aborted,
    /// The connection string or the TLS material is unusable, or the login was refused.
    #[error("database configuration: {0}")]
    Configuration(String),
    /// A migration failed, or the history disagrees with the migrations of this build.
    #[error("migration of schema {schema}: {reason}")]
    Migration {
        /// The schema that was migrated.
        schema: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Anything else that the server reported: mostly a mistake in a statement.
    #[error("postgresql error {sqlstate}: {message}")]
    Server {
        /// The five-character SQLSTATE.
        sqlstate: String,
        /// The primary message, without detail and context.
        message: String,
    },
    /// The driver could not encode a parameter or decode an answer.
    #[error("database protocol: {0}")]
    Protocol(String),
}

impl DbError {
    /// Whether the same operation may succeed when repeated. A write that ended in [`DbError::Unavailable`] may have
    /// been committed: repeat it only when it is idempotent.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::PoolTimeout | Self::Conflict(_) | Self::StalePlan)
    }

    /// The violated constraint, where that is what went wrong.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::UniqueViolation { constraint }
            | Self::ForeignKeyViolation { constraint }
            | Self::CheckViolation { constraint } => Some(constraint),
            _ => None,
        }
    }

    fn from_server(error: &ServerError) -> Self {
        let message = || error.message().to_owned();
        let constraint = || error.constraint().unwrap_or("(unnamed)").to_owned();
        let code = error.code();
        match code.code() {
            "23505" | "23P01" => Self::UniqueViolation { constraint: constraint() },
            "23503" => Self::ForeignKeyViolation { constraint: constraint() },
            "23514" => Self::CheckViolation { constraint: constraint() },
            "40001" | "40P01" | "55P03" => Self::Conflict(message()),
            "57014" => Self::Cancelled(message()),
            "25P02" => Self::Aborted,
            "42501" => Self::Denied(message()),
            // PostgreSQL has no code of its own for it; the routine's name is not translated
            "0A000" if error.routine() == Some("RevalidateCachedQuery") => Self::StalePlan,
            // the database was dropped or closed under us (57P04), an idle session was ended (57P05)
            _ if code == &SqlState::ADMIN_SHUTDOWN
                || code == &SqlState::CRASH_SHUTDOWN
                || code == &SqlState::CANNOT_CONNECT_NOW =>
            {
                Self::Unavailable(message())
            }
            "57P05" | "25P03" => Self::Unavailable(message()),
            // 08 connection, 53 insufficient resources, 58 input/output
            class if class.starts_with("08") || class.starts_with("53") || class.starts_with("58") => {
                Self::Unavailable(message())
            }
            // 28 login refused, 3D no such database
            class if class.starts_with("28") || class.starts_with("3D") => Self::Configuration(message()),
            sqlstate => Self::Server { sqlstate: sqlstate.to_owned(), message: message() },
        }
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(server) = error.as_db_error() {
            return Self::from_server(server);
        }
        let cause = error.source().map(ToString::to_string);
        let text = match &cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        let io =
            error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        if text.contains("TLS") && io.is_none_or(|kind| kind == std::io::ErrorKind::InvalidData) {
            // a certificate that does not convince, or a server without TLS: trying again does not help
            return Self::Configuration(text);
        }
        if error.is_closed()
            || io.is_some()
            || text.starts_with("error connecting")
            || text.starts_with("timeout")
        {
            Self::Unavailable(text)
        } else if text.starts_with("invalid c") || text.starts_with("authentication") || text.contains("TLS")
        {
            Self::Configuration(text)
        } else {
            // the cause of an encoding error may quote the value
            Self::Protocol(error.to_string())
        }
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::PoolTimeout,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Unavailable("opening a connection took longer than the connect timeout".to_owned())
            }
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            PoolError::PostCreateHook(HookError::Message(message)) => {
                Self::Configuration(message.into_owned())
            }
            PoolError::Closed => Self::Unavailable("the pool is closed".to_owned()),
            PoolError::NoRuntimeSpecified => Self::Configuration("the pool has no runtime".to_owned()),
        }
    }
}
