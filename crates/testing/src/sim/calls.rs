//! The log of every request that reached a simulated provider.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::embedding::EmbedRequest;
use super::faults::Fault;

/// One request as the provider saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Number of the request in this simulator; also sent back as `x-request-id: req_<id>`.
    pub id: u64,
    /// Name of the deployment that got it.
    pub deployment: String,
    /// HTTP method.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// The caller's `x-embermesh-attempt` header.
    pub attempt: Option<String>,
    /// The caller's `x-request-id` header.
    pub request_id: Option<String>,
    /// Model asked for, when the request was valid.
    pub model: Option<String>,
    /// Inputs in order, when the request was valid; token arrays decoded.
    pub texts: Vec<String>,
    /// Tokens billed for, when the request was valid.
    pub tokens: u64,
    /// Status answered; absent while in flight, and for good after a hang or a reset.
    pub status: Option<u16>,
    /// The fault that was applied to it.
    pub fault: Option<Fault>,
    /// Milliseconds from the simulator's start to the request's arrival.
    pub received_ms: u64,
    /// Milliseconds from the simulator's start to the answer.
    pub answered_ms: Option<u64>,
}

/// A request's head, as far as the log wants it.
pub(super) struct Arrival<'a> {
    pub deployment: &'a str,
    pub head: &'a http::request::Parts,
    pub fault: Option<&'a Fault>,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    calls: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct CallLog {
    start: Instant,
    entries: Mutex<Entries>,
}

impl CallLog {
    pub fn new(start: Instant) -> Self {
        Self { start, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes an arrival and gives it its number.
    pub fn open(&self, arrival: &Arrival<'_>) -> u64 {
        let header = |name: &str| {
            let value = arrival.head.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let received_ms = self.elapsed_ms();
        let mut entries = self.entries();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.calls.push(Call {
            id,
            deployment: arrival.deployment.to_owned(),
            method: arrival.head.method.to_string(),
            path: arrival.head.uri.path().to_owned(),
            attempt: header("x-embermesh-attempt"),
            request_id: header("x-request-id"),
            model: None,
            texts: Vec::new(),
            tokens: 0,
            status: None,
            fault: arrival.fault.cloned(),
            received_ms,
            answered_ms: None,
        });
        id
    }

    /// Adds what a valid request asked for.
    pub fn describe(&self, id: u64, request: &EmbedRequest) {
        self.update(id, |call| {
            call.model = Some(request.model.clone());
            call.texts = request.texts();
            call.tokens = request.tokens() as u64;
        });
    }

    /// Adds the answer.
    pub fn close(&self, id: u64, status: http::StatusCode) {
        let now = self.elapsed_ms();
        self.update(id, |call| {
            call.status = Some(status.as_u16());
            call.answered_ms = Some(now);
        });
    }

    /// A call that was cleared away while in flight is left alone.
    fn update(&self, id: u64, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.entries().calls.iter_mut().rev().find(|call| call.id == id) {
            change(call);
        }
    }

    pub fn all(&self) -> Vec<Call> {
        self.entries().calls.clone()
    }

    pub fn clear(&self) {
        self.entries().calls.clear();
    }
}
