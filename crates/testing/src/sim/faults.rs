//! What can be made to go wrong with single requests, and for how many of them.

mod queue;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use queue::FaultQueue;

/// A way to fail. In JSON: `{"kind": "status", "status": 429, "retry_after": {"seconds": 2}}`.
///
/// What a format has no place for turns into the nearest thing that it has: without an index, [`Fault::WrongIndex`] is one vector too
/// many; where there is no base64, [`Fault::IgnoreBase64`] changes nothing; an API that answers one text per call shows nothing of
/// [`Fault::WrongOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with this status.
    Status {
        /// HTTP status.
        status: u16,
        /// When to come back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<RetryAfter>,
        /// Sent as it is; without it, an error in the provider's own shape.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// Says in the provider's own words that the account's quota is used up: a 429 that waiting does not mend, or what the API has for it.
    QuotaUsedUp,
    /// Reads the request and never answers.
    Hang,
    /// Resets the connection (TCP RST) on seeing the head, its body unread.
    ResetBeforeRead,
    /// Reads the whole request, then resets the connection: the caller cannot know whether it was billed.
    ResetAfterRead,
    /// Answers correctly, late.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Answers correctly and sends the head at once, but the body in pieces with a pause before each.
    Trickle {
        /// Bytes of a piece.
        bytes: usize,
        /// Milliseconds of a pause.
        every_ms: u64,
    },
    /// Leaves the last vector out.
    WrongCount,
    /// Sends the vectors last to first, each with its right index: right by index, wrong by position.
    WrongOrder,
    /// Gives the first vector index 1, which is another's or, for a lone one, out of range.
    WrongIndex,
    /// Vectors one component short.
    WrongDims,
    /// Puts a NaN in every vector (as floats: the bare word `NaN`, which is not JSON but is what Python servers send).
    NotANumber,
    /// Vectors of zeros.
    ZeroVector,
    /// The first vector a million times as long as it should be, which half precision cannot hold.
    HugeVector,
    /// Cuts the JSON in the middle; the HTTP framing is intact.
    TruncatedJson,
    /// Status 200 with an error body.
    ErrorWithStatus200,
    /// Sends floats although base64 was asked for, as older compatible servers do.
    IgnoreBase64,
}

/// When to come back, in one of the ways that providers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds(u64),
    /// `Retry-After` as an HTTP date this many seconds from now.
    Date(u64),
    /// `retry-after-ms`.
    Millis(u64),
}

impl RetryAfter {
    /// The time to wait.
    pub(super) const fn wait(self) -> Duration {
        match self {
            Self::Seconds(seconds) | Self::Date(seconds) => Duration::from_secs(seconds),
            Self::Millis(ms) => Duration::from_millis(ms),
        }
    }
}

impl Fault {
    /// A status without `Retry-After`, with the provider's own error body.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, body: None }
    }

    /// The status, with a time to come back; any other fault as it is.
    #[must_use]
    pub fn retry_after(self, wait: RetryAfter) -> Self {
        match self {
            Self::Status { status, body, .. } => Self::Status { status, retry_after: Some(wait), body },
            other => other,
        }
    }

    /// This fault for the next `times` requests.
    #[must_use]
    pub const fn times(self, times: u32) -> Injection {
        Injection { fault: self, times: Some(times), rate: None }
    }

    /// This fault until it is replaced.
    #[must_use]
    pub const fn forever(self) -> Injection {
        Injection { fault: self, times: None, rate: None }
    }

    /// This fault for a share of requests, 0 to 1, until it is replaced. Which ones is the same in every run.
    #[must_use]
    pub const fn at_rate(self, rate: f64) -> Injection {
        Injection { fault: self, times: None, rate: Some(rate) }
    }

    /// Whether it needs vectors to spoil; otherwise it strikes every request, a listing of models included.
    const fn spoils_vectors(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::QuotaUsedUp
            | Self::Hang
            | Self::ResetBeforeRead
            | Self::ResetAfterRead
            | Self::Delay { .. }
            | Self::Trickle { .. }
            | Self::TruncatedJson
            | Self::ErrorWithStatus200 => false,
            Self::WrongCount
            | Self::WrongOrder
            | Self::WrongIndex
            | Self::WrongDims
            | Self::NotANumber
            | Self::ZeroVector
            | Self::HugeVector
            | Self::IgnoreBase64 => true,
        }
    }
}

/// A fault and how often it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// The fault.
    pub fault: Fault,
    /// Requests until it heals; absent means never.
    #[serde(default)]
    pub times: Option<u32>,
    /// Share of requests that it strikes, 0 to 1; absent means each. Those it spares meet the next fault of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}
