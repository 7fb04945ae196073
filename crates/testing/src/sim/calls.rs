//! The log of every request that reached a simulated provider.

mod redact;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::embedding::EmbedRequest;
use super::faults::Fault;

/// Most calls that are kept; the oldest go first.
const MAX_CALLS: usize = 100_000;
/// Most bytes of texts and bodies that are kept.
const MAX_BYTES: usize = 512 << 20;

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
    /// Query as sent, keys in it replaced.
    pub query: Option<String>,
    /// Headers as sent, credentials replaced (`Bearer …`), in lower case; those of the connection are left out.
    pub headers: BTreeMap<String, String>,
    /// Body as sent, where it is JSON, the deployment records bodies and the body was read.
    pub body: Option<Value>,
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
    /// What the inputs are for, as sent.
    pub input_type: Option<String>,
    /// Components of each vector, when the request was valid.
    pub dims: Option<usize>,
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

/// A call as it is kept: its body is parsed only for readers of the log.
#[derive(Clone, Debug)]
struct Entry {
    call: Call,
    body: Bytes,
    bytes: usize,
}

impl Entry {
    fn read(self) -> Call {
        Call { body: serde_json::from_slice(&self.body).ok(), ..self.call }
    }
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    /// Their ids have no gaps.
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Entries {
    /// A call that was cleared away or forgotten while in flight is left alone.
    fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.call.id;
        self.entries.get_mut(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    fn weigh(&mut self, id: u64, more: usize) {
        if let Some(entry) = self.get_mut(id) {
            entry.bytes += more;
            self.bytes += more;
        }
        while self.entries.len() > MAX_CALLS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

/// The newest calls of all deployments.
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
        let Arrival { deployment, head, fault } = arrival;
        let header = |name: &str| {
            let value = head.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let call = Call {
            id: 0,
            deployment: (*deployment).to_owned(),
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(redact::query),
            headers: redact::headers(&head.headers),
            body: None,
            attempt: header("x-embermesh-attempt"),
            request_id: header("x-request-id"),
            model: None,
            texts: Vec::new(),
            tokens: 0,
            input_type: None,
            dims: None,
            status: None,
            fault: fault.cloned(),
            received_ms: self.elapsed_ms(),
            answered_ms: None,
        };
        let mut entry = Entry { call, body: Bytes::new(), bytes: 0 };
        let mut entries = self.entries();
        let id = entries.next_id;
        entries.next_id += 1;
        entry.call.id = id;
        entries.entries.push_back(entry);
        entries.weigh(id, 0);
        id
    }

    /// Adds the body, as a copy: the connection's whole read buffer would be kept with it otherwise.
    pub fn note_body(&self, id: u64, body: &[u8]) {
        let bytes = body.len();
        let body = Bytes::copy_from_slice(body);
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(id) {
            entry.body = body;
        }
        entries.weigh(id, bytes);
    }

    /// Adds what a valid request asked for.
    pub fn describe(&self, id: u64, request: &EmbedRequest) {
        let texts = request.texts();
        let bytes = texts.iter().map(String::len).sum();
        let mut entries = self.entries();
        if let Some(Entry { call, .. }) = entries.get_mut(id) {
            call.model = Some(request.model.clone());
            call.texts = texts;
            call.tokens = request.tokens() as u64;
            call.input_type.clone_from(&request.input_type);
            call.dims = Some(request.dims);
        }
        entries.weigh(id, bytes);
    }

    /// Adds the answer.
    pub fn close(&self, id: u64, status: http::StatusCode) {
        let now = self.elapsed_ms();
        if let Some(Entry { call, .. }) = self.entries().get_mut(id) {
            call.status = Some(status.as_u16());
            call.answered_ms = Some(now);
        }
    }

    pub fn all(&self) -> Vec<Call> {
        let entries: Vec<Entry> = self.entries().entries.iter().cloned().collect();
        entries.into_iter().map(Entry::read).collect()
    }

    pub fn clear(&self) {
        let mut entries = self.entries();
        entries.entries.clear();
        entries.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_calls_are_kept_and_late_answers_to_forgotten_ones_are_dropped() {
        let log = CallLog::new(Instant::now());
        let (head, ()) = http::Request::new(()).into_parts();
        let open = || log.open(&Arrival { deployment: "a", head: &head, fault: None });
        let first = open();
        for _ in 0..MAX_CALLS {
            open();
        }
        log.close(first, http::StatusCode::OK);
        let second = first + 1;
        log.close(second, http::StatusCode::CREATED);
        let all = log.all();
        assert_eq!((all.len(), all[0].id, all[0].status), (MAX_CALLS, second, Some(201)));

        log.clear();
        log.close(second, http::StatusCode::OK);
        assert_eq!(open(), second + MAX_CALLS as u64);
        assert_eq!(log.all().len(), 1);
    }

    #[test]
    fn large_bodies_push_out_the_oldest_calls() {
        let log = CallLog::new(Instant::now());
        let (head, ()) = http::Request::new(()).into_parts();
        let body = vec![0; MAX_BYTES / 4];
        for _ in 0..6 {
            let id = log.open(&Arrival { deployment: "a", head: &head, fault: None });
            log.note_body(id, &body);
        }
        assert_eq!(log.all().iter().map(|call| call.id).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }
}
