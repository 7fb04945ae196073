//! The reads of one request: all on one replica, or on the primary.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    Generation, ReadRouter, Replicas, Source,
    board::{Outcome, Why},
};
use crate::{DbError, Session, Unexplained, session::at_most_one};

/// The right to read for one request. Made by [`ReadRouter::reader`], which chose where.
pub struct Reader<'a> {
    router: &'a ReadRouter,
    on: On<'a>,
    is_eventual: bool,
}

/// Where a request reads.
pub(super) enum On<'a> {
    Replica(Held<'a>),
    Primary,
    /// What is reached as the primary surely lacks the write.
    Nobody,
}

/// A replica in use.
pub(super) struct Held<'a> {
    replicas: &'a Replicas,
    at: usize,
    generation: Arc<Generation>,
    /// It failed, and the rest is the primary's.
    is_left: AtomicBool,
}

impl<'a> Held<'a> {
    pub(super) fn new(replicas: &'a Replicas, at: usize, generation: Arc<Generation>) -> Self {
        Self { replicas, at, generation, is_left: AtomicBool::new(false) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.replicas.board().done(self.at);
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(router: &'a ReadRouter, on: On<'a>, is_eventual: bool) -> Self {
        Self { router, on, is_eventual }
    }

    /// Whether what is a little old is good enough for the caller.
    pub fn is_eventual(&self) -> bool {
        self.is_eventual
    }

    /// A session whose statements see the rows of `tenant` alone.
    pub fn tenant(&self, tenant: Uuid) -> ReadSession<'_> {
        ReadSession { reader: self, session: self.router.primary.tenant(tenant) }
    }

    fn replica(&self) -> Option<&Held<'a>> {
        match &self.on {
            On::Replica(held) if !held.is_left.load(Ordering::Relaxed) => Some(held),
            On::Replica(_) | On::Primary | On::Nobody => None,
        }
    }
}

/// Runs read-only statements where its [`Reader`] reads.
#[derive(Clone)]
pub struct ReadSession<'r> {
    reader: &'r Reader<'r>,
    /// On the primary.
    session: Session<'r>,
}

impl ReadSession<'_> {
    /// As [`Session::to_explain`].
    pub fn to_explain(&self, sql: &str) -> Unexplained {
        self.session.to_explain(sql)
    }

    /// As [`Session::with`].
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.session = self.session.with(name, value);
        self
    }

    /// As [`Session::query`]. What fails on a replica is repeated on the primary, and so is what a replica has not answered when it is
    /// lost.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        if let Some(held) = self.reader.replica() {
            match held.query(&self.session, sql, parameters).await {
                Some(outcome) => return outcome,
                None => {
                    held.is_left.store(true, Ordering::Relaxed);
                    self.reader.router.tell(Source::Primary(Why::Failed));
                }
            }
        }
        if let On::Nobody = self.reader.on {
            let why = "the server that answers as the primary is older than the write that is asked for";
            return Err(DbError::Unavailable(why.to_owned()));
        }
        self.session.query(sql, parameters).await
    }

    /// As [`Session::query_opt`].
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        at_most_one(self.query(sql, parameters).await?)
    }

    /// As [`Session::query_one`].
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, DbError> {
        at_most_one(self.query(sql, parameters).await?)?.ok_or(DbError::RowCount(0))
    }
}

impl Held<'_> {
    /// The answer, or nothing where the primary has to give it.
    async fn query(
        &self,
        session: &Session<'_>,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Option<Result<Vec<Row>, DbError>> {
        let mut gone = self.generation.gone.subscribe();
        let session = session.on(&self.generation.database);
        let outcome = tokio::select! {
            outcome = session.query_once(sql, parameters) => outcome,
            // nobody waits for a replica that hangs; its connection is closed with the future
            _ = gone.wait_for(|gone| *gone) => return None,
        };
        let (told, answer) = judged(outcome);
        if let Some(told) = told {
            self.replicas.board().outcome(std::time::Instant::now(), self.at, told);
        }
        if let Some(Err(error)) = &answer {
            tracing::debug!(%error, "a statement failed on a replica");
        }
        answer
    }
}

type Answer = Result<Vec<Row>, DbError>;

/// What an outcome says of the replica, and whether it is the caller's answer.
fn judged(outcome: Answer) -> (Option<Outcome>, Option<Answer>) {
    match outcome {
        Ok(rows) => (Some(Outcome::Served), Some(Ok(rows))),
        // it ran for as long as a statement may, and would do so again
        Err(error @ DbError::Cancelled(_)) => (None, Some(Err(error))),
        Err(DbError::Unavailable(_) | DbError::Configuration(_) | DbError::Denied(_)) => {
            (Some(Outcome::Failed), None)
        }
        // all connections in use, a table that has not arrived, a plan of before it did, rows that recovery took away: no fault of the
        // replica
        Err(_) => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_primary_would_not_do_better_is_the_replicas_answer() {
        let text = String::new;
        for (error, told, is_answer) in [
            (DbError::Cancelled(text()), None, true),
            (DbError::Unavailable(text()), Some(Outcome::Failed), false),
            (DbError::PoolTimeout, None, false),
            (DbError::Denied(text()), Some(Outcome::Failed), false),
            (DbError::Conflict(text()), None, false),
            (DbError::StalePlan, None, false),
            (DbError::Server { sqlstate: "42P01".into(), message: text() }, None, false),
        ] {
            let (said, answer) = judged(Err(error.clone()));
            assert_eq!((said, answer.is_some()), (told, is_answer), "{error}");
        }
    }
}
