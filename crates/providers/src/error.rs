//! Why a call gave no vectors: one class for each thing that a caller does differently.

use std::time::Duration;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection came about: name, address, TLS. Nothing was sent.
    Unreachable,
    /// The connection broke after bytes were sent.
    Broken,
    /// No answer in time.
    TimedOut,
    /// The provider's own error (500, 503, 529), not billed.
    Server,
    /// Something between gave up (502, 504, 408); what stands behind it may have answered.
    Intermediary,
    /// An answer that cannot be used: truncated, an error with status 200, wrong count, length or numbers.
    BadAnswer,
    /// Too many calls or tokens for now (429).
    Throttled,
    /// Quota, credit or spending limit used up (402, 429 with such a code): retrying does not help.
    Exhausted,
    /// The credential is refused (401, 403).
    Unauthorized,
    /// The deployment does not know the model or the path (404, 405), or points elsewhere (3xx).
    NotHere,
    /// The input is refused (400, 413, 422).
    Refused,
    /// One of the texts is longer than the model takes.
    TooLong,
    /// Whoever asked could not wait for as long as an answer may take. Says nothing about the provider.
    Abandoned,
    /// The process cannot make the call: out of threads, no credentials to be had. Nothing was sent.
    Local,
}

/// Whether a failed call may have been charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// Provably not.
    NotBilled,
    /// It may have been: the bytes left and no answer tells.
    Unknown,
}

impl Failure {
    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Server => "server",
            Self::Intermediary => "intermediary",
            Self::BadAnswer => "bad_answer",
            Self::Throttled => "throttled",
            Self::Exhausted => "exhausted",
            Self::Unauthorized => "unauthorized",
            Self::NotHere => "not_here",
            Self::Refused => "refused",
            Self::TooLong => "too_long",
            Self::Abandoned => "abandoned",
            Self::Local => "local",
        }
    }

    /// Whether the call may have been charged.
    pub const fn billing(self) -> Billing {
        match self {
            Self::Broken | Self::TimedOut | Self::Intermediary | Self::BadAnswer | Self::Abandoned => {
                Billing::Unknown
            }
            Self::Unreachable
            | Self::Server
            | Self::Throttled
            | Self::Exhausted
            | Self::Unauthorized
            | Self::NotHere
            | Self::Refused
            | Self::TooLong
            | Self::Local => Billing::NotBilled,
        }
    }

    /// The input itself is at fault: nobody will take it.
    pub const fn is_of_input(self) -> bool {
        matches!(self, Self::Refused | Self::TooLong)
    }
}

/// Why a call gave no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// For people; never quotes the provider's own text, which may hold the input.
    pub message: String,
    /// What kind of failure it was.
    pub failure: Failure,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// A failure without advice on when to come again.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { message: message.into(), failure, retry_after: None }
    }

    /// An answer with status 200 that cannot be used.
    pub fn bad_answer(message: impl Into<String>) -> Self {
        Self::new(Failure::BadAnswer, message)
    }
}
