//! Why there is no answer.

use fred::error::{Error, ErrorKind};

/// Redis does not answer: ask again later, and do without until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// There is no connection; one is sought in the background.
    #[error("redis is not connected")]
    NotConnected,
    /// It failed several times in a row and is left alone for a moment.
    #[error("redis is left alone after failures")]
    Resting,
    /// No answer in time.
    #[error("redis did not answer in time")]
    TooLate,
    /// It answered with an error, or the connection broke.
    #[error("redis failed")]
    Failed,
}

impl Away {
    /// A short name, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Resting => "resting",
            Self::TooLate => "too_late",
            Self::Failed => "failed",
        }
    }

    /// Whether Redis was asked at all.
    pub const fn was_asked(self) -> bool {
        matches!(self, Self::TooLate | Self::Failed)
    }
}

impl From<Error> for Away {
    fn from(error: Error) -> Self {
        tracing::debug!(%error, "redis failed");
        match error.kind() {
            ErrorKind::Timeout => Self::TooLate,
            _ => Self::Failed,
        }
    }
}
