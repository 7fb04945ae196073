//! What can go wrong between the command line and the server, and the exit code that says so.

use std::{fmt, process::ExitCode, time::Duration};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

use crate::commands::output::printable;

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was typed, or the files that it names.
    #[error("{0}")]
    Usage(String),
    /// No connection, or one that broke.
    #[error("cannot reach {url}: {why}; is `embermesh up` running there?")]
    Unreachable { url: String, why: String },
    /// 401 or 403.
    #[error("not authorised: {0}")]
    NotAuthorised(Refusal),
    /// Any other error of the server.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// Not what the API promises.
    #[error("the server's answer cannot be read: {0}; is this an Embermesh of the same version?")]
    Garbled(String),
}

impl Failure {
    /// As documented in the help.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::NotAuthorised(_) => 3,
            Self::Refused(_) | Self::Garbled(_) => 4,
        })
    }

    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => {
                matches!(refusal.status.as_u16(), 429 | 502 | 503 | 504) || refusal.body.is_passing()
            }
            Self::Usage(_) | Self::NotAuthorised(_) | Self::Garbled(_) => false,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

/// An error status with what the server said about it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: ErrorBody,
}

/// What stands under `error` in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorBody {
    pub code: String,
    pub message: String,
    pub param: Option<String>,
    pub request_id: String,
}

impl ErrorBody {
    /// Whether the same text may be taken later.
    pub fn is_passing(&self) -> bool {
        matches!(self.code.as_str(), "rate_limited" | "unavailable" | "deadline_exceeded")
    }
}

impl From<ErrorBody> for Failure {
    /// Of one text in an answer that was a success as a whole.
    fn from(body: ErrorBody) -> Self {
        Self::Refused(Refusal { status: StatusCode::OK, retry_after: None, body })
    }
}

impl Refusal {
    /// Reads an answer, which may come from a proxy that knows nothing of our error shape.
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            error: ErrorBody,
        }
        let body =
            serde_json::from_slice::<Envelope>(body).map(|envelope| envelope.error).unwrap_or_else(|_| {
                ErrorBody {
                    code: format!("http_{}", status.as_u16()),
                    message: status.canonical_reason().unwrap_or("no reason given").to_lowercase(),
                    ..ErrorBody::default()
                }
            });
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self { status, retry_after: seconds.map(Duration::from_secs), body }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.body)?;
        match self.retry_after {
            Some(wait) => write!(f, "; it asks to wait {} s", wait.as_secs()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", printable(&self.message), printable(&self.code))?;
        match self.request_id.as_str() {
            "" => write!(f, ")"),
            id => write!(f, ", request {})", printable(id)),
        }
    }
}
