//! A pooled connection on loan, and what becomes of it when the loan ends early.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use deadpool_postgres::{ClientWrapper, Object};
use tokio_postgres::{Error, Statement};

/// Statements that a connection keeps prepared. Their texts differ with the space and with the shape of a filter, so callers can make
/// any number of them, and PostgreSQL keeps a plan of each.
const MAX_STATEMENTS: usize = 500;

/// Gives its connection back to the pool only when no statement is unfinished on it.
///
/// A future dropped in the middle of a statement leaves the server working and an answer that nobody reads. Such a
/// connection is closed: the server notices within a second (`client_connection_check_interval`), stops the statement
/// and rolls back, and no other caller waits behind it.
pub(crate) struct Lease {
    /// `None` only during drop.
    object: Option<Object>,
    unfinished: AtomicUsize,
    max_idle: usize,
}

impl Lease {
    pub(crate) fn new(object: Object, max_idle: usize) -> Self {
        Self { object: Some(object), unfinished: AtomicUsize::new(0), max_idle }
    }

    /// Runs requests of this connection; when the result never arrives the connection counts as spoilt.
    pub(crate) async fn track<T>(&self, requests: impl Future<Output = T>) -> T {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        let output = requests.await;
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
        output
    }

    /// A prepared statement, which the connection remembers. With too many it forgets all, which costs each of them one round trip.
    pub(crate) async fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        if self.statement_cache.size() >= MAX_STATEMENTS {
            self.statement_cache.clear();
        }
        self.prepare_cached(sql).await
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed) == 0
    }
}

impl Deref for Lease {
    type Target = ClientWrapper;

    #[expect(
        clippy::expect_used,
        reason = "the object leaves only in drop, after which nobody can call this"
    )]
    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a lease holds its connection until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        // deadpool keeps every connection it ever opened; `max_idle_conns` is kept here, on return
        let enough_idle = Object::pool(&object).is_some_and(|pool| {
            let status = pool.status();
            status.waiting == 0 && status.available >= self.max_idle
        });
        if enough_idle || !self.is_clean() {
            drop(Object::take(object));
        }
    }
}
