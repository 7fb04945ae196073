//! What can be made to go wrong, and for how many requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// A way to fail. In JSON: `{"kind": "status", "status": 429, "retry_after_s": 2}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with this status.
    Status {
        /// HTTP status.
        status: u16,
        /// Sent as `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u64>,
        /// Sent as it is; without it, an error in the provider's own shape.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
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
    /// Cuts the JSON in the middle; the HTTP framing is intact.
    TruncatedJson,
    /// Status 200 with an error body.
    ErrorWithStatus200,
    /// Sends floats although base64 was asked for, as older compatible servers do.
    IgnoreBase64,
}

impl Fault {
    /// A status without `Retry-After`, with the provider's own error body.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status { status, retry_after_s: None, body: None }
    }

    /// This fault for the next `times` requests.
    #[must_use]
    pub const fn times(self, times: u32) -> Injection {
        Injection { fault: self, times: Some(times) }
    }

    /// This fault until it is replaced.
    #[must_use]
    pub const fn forever(self) -> Injection {
        Injection { fault: self, times: None }
    }

    /// Whether it needs vectors to spoil; otherwise it strikes every request, a listing of models included.
    const fn spoils_vectors(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Hang
            | Self::ResetBeforeRead
            | Self::ResetAfterRead
            | Self::Delay { .. }
            | Self::TruncatedJson
            | Self::ErrorWithStatus200 => false,
            Self::WrongCount
            | Self::WrongOrder
            | Self::WrongIndex
            | Self::WrongDims
            | Self::NotANumber
            | Self::ZeroVector
            | Self::IgnoreBase64 => true,
        }
    }
}

/// A fault and how often it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// The fault.
    pub fault: Fault,
    /// Requests until it heals; absent means never.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Faults in the order in which they strike: the first one until it is used up, then the next.
#[derive(Debug, Default)]
pub(super) struct FaultQueue(Mutex<VecDeque<Injection>>);

impl FaultQueue {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Injection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn replace(&self, injections: impl IntoIterator<Item = Injection>) {
        *self.queue() = injections.into_iter().filter(|injection| injection.times != Some(0)).collect();
    }

    pub fn pending(&self) -> Vec<Injection> {
        self.queue().iter().cloned().collect()
    }

    /// The fault for the request at hand. One that spoils vectors waits for a request that asks for some.
    pub fn take(&self, asks_for_vectors: bool) -> Option<Fault> {
        let mut queue = self.queue();
        let head = queue.front_mut()?;
        if head.fault.spoils_vectors() && !asks_for_vectors {
            return None;
        }
        let fault = head.fault.clone();
        if let Some(times) = &mut head.times {
            *times -= 1;
            if *times == 0 {
                queue.pop_front();
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_in_order_and_heal() {
        let queue = FaultQueue::default();
        queue.replace([Fault::Hang.times(0), Fault::status(500).times(2), Fault::WrongCount.times(1)]);
        assert_eq!(queue.take(true), Some(Fault::status(500)));
        assert_eq!(queue.take(false), Some(Fault::status(500)));
        assert_eq!(queue.take(false), None, "no vectors to spoil, so it waits");
        assert_eq!(queue.take(true), Some(Fault::WrongCount));
        assert_eq!(queue.take(true), None);
        queue.replace([Fault::Hang.forever()]);
        assert!((0..10).all(|_| queue.take(true) == Some(Fault::Hang)));
    }

    #[test]
    fn json_form_is_strict() {
        let parse = |json| serde_json::from_str::<Injection>(json);
        assert_eq!(
            parse(r#"{"fault":{"kind":"status","status":429,"retry_after_s":2},"times":1}"#).unwrap(),
            Fault::Status { status: 429, retry_after_s: Some(2), body: None }.times(1)
        );
        assert_eq!(parse(r#"{"fault":{"kind":"hang"}}"#).unwrap(), Fault::Hang.forever());
        assert!(parse(r#"{"fault":{"kind":"hang"},"time":1}"#).is_err());
        assert!(parse(r#"{"fault":{"kind":"status","status":429,"retry_after":2}}"#).is_err());
    }
}
