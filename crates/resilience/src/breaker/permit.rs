//! Leave for one call, and the way back for its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Breaker;
use super::machine::Ticket;

/// Leave for one call. Dropping it without a verdict (the caller went away, the call was throttled, the request was at fault) gives
/// it back and counts neither way.
#[derive(Debug)]
#[must_use = "dropped at once, the permit is given back and the call counts neither way"]
pub struct Permit {
    breaker: Arc<Breaker>,
    /// Taken by the verdict.
    ticket: Option<Ticket>,
}

impl Permit {
    pub(super) fn new(breaker: Arc<Breaker>, ticket: Ticket) -> Self {
        Self { breaker, ticket: Some(ticket) }
    }

    /// The service answered as it should, after `took`.
    pub fn succeeded(mut self, now: Instant, took: Duration) {
        self.conclude(now, took, true);
    }

    /// The service is at fault, after `took`.
    pub fn failed(mut self, now: Instant, took: Duration) {
        self.conclude(now, took, false);
    }

    /// The call says nothing about the service.
    pub fn ignored(self) {}

    /// Whether the breaker is still in the state that it was given in: a call that has not begun yet need not be made otherwise.
    pub fn holds(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| self.breaker.lock().is_current(ticket))
    }

    fn conclude(&mut self, now: Instant, took: Duration, ok: bool) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.lock().conclude(&ticket, now, took, ok);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.lock().release(&ticket);
        }
    }
}
