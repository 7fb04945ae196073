//! The one error of every public and internal call: a small set of codes, and the only mapping of them to gRPC and HTTP.

mod body;
mod code;
mod status;

use std::time::Duration;

pub use body::{ErrorBody, ErrorEnvelope};
pub use code::Code;

/// A refusal or failure that a caller may see. Messages are lowercase, say what to do, and hold no text, key or vector.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, from a fixed set.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The field or header at fault.
    pub param: Option<String>,
    /// When a repeat may succeed.
    pub retry_after: Option<Duration>,
    /// Figures that belong to the code, such as token counts.
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl Error {
    /// An error of `code` with a message for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            details: serde_json::Map::new(),
        }
    }

    /// Bad input in `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message).with_param(param)
    }

    /// A thing that does not exist, or belongs to somebody else.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// A part that cannot be reached now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message).with_retry_after(Duration::from_secs(1))
    }

    /// A defect or a broken part; the cause belongs in the log, not here.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Names the field or header at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when a repeat may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn with_detail(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}
