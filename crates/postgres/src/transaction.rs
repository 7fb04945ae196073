//! A transaction of several statements that owns its connection.

use std::sync::atomic::{AtomicBool, Ordering};

use embermesh_types::WriteToken;
use futures::FutureExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::lease::Lease;
use crate::session::at_most_one;
use crate::write_mark::{self, WHERE_NOW};
use crate::{DbError, WriteMark};

/// An open transaction. Dropping it rolls back; no task, lock or borrow of the pool is left behind.
///
/// Statements take `&self`, so several can be joined and travel together.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Transaction {
    lease: Lease,
    /// Whether the database has replicas that a mark is for.
    marks: bool,
    open: bool,
    failed: AtomicBool,
}

impl Transaction {
    pub(crate) fn new(lease: Lease, marks: bool) -> Self {
        Self { lease, marks, open: true, failed: AtomicBool::new(false) }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// See [`DbError`]. After any error the transaction can only be rolled back.
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.run(sql, async |statement| self.lease.query(&statement, parameters).await).await
    }

    /// Like [`Transaction::query`] for at most one row.
    ///
    /// # Errors
    /// Also [`DbError::RowCount`] when there are several.
    pub async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        at_most_one(self.query(sql, parameters).await?)
    }

    /// Like [`Transaction::query`] for exactly one row.
    ///
    /// # Errors
    /// Also [`DbError::RowCount`] when there is none or there are several.
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, DbError> {
        at_most_one(self.query(sql, parameters).await?)?.ok_or(DbError::RowCount(0))
    }

    /// Runs a statement and returns the number of rows it changed.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, DbError> {
        self.run(sql, async |statement| self.lease.execute(&statement, parameters).await).await
    }

    /// Runs statements without parameters, for DDL.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn batch_execute(&self, sql: &str) -> Result<(), DbError> {
        let outcome = self.lease.track(self.lease.batch_execute(sql)).await;
        self.note(outcome)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`DbError::Aborted`] when an earlier statement failed and its error was ignored. After
    /// [`DbError::Unavailable`] the outcome is unknown.
    pub async fn commit(mut self) -> Result<(), DbError> {
        self.commit_it().await
    }

    /// The same, and notes in `mark` where the log is behind it, where the database
    /// [has replicas](crate::Database::connect_marking).
    ///
    /// # Errors
    /// See [`Transaction::commit`].
    pub async fn commit_marked(mut self, mark: &WriteMark) -> Result<(), DbError> {
        self.commit_it().await?;
        if self.marks {
            let place = async {
                let statement = self.lease.prepared(WHERE_NOW).await?;
                self.lease.query_one(&statement, &[]).await
            };
            let place = self.lease.track(place).await;
            // what is committed is committed, wherever it is
            mark.note(place.map_or(WriteToken::Primary, |row| write_mark::read(&row)));
        }
        Ok(())
    }

    async fn commit_it(&mut self) -> Result<(), DbError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(DbError::Aborted);
        }
        let outcome = self.lease.track(self.lease.batch_execute("COMMIT")).await;
        self.open = false;
        Ok(outcome?)
    }

    /// Undoes everything and waits until PostgreSQL has done so; dropping does not wait.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn rollback(mut self) -> Result<(), DbError> {
        let outcome = self.lease.track(self.lease.batch_execute("ROLLBACK")).await;
        self.open = false;
        Ok(outcome?)
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.lease
    }

    /// Requests of this transaction, of which a failure is remembered.
    pub(crate) async fn tracked<T>(
        &self,
        requests: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let outcome = self.lease.track(requests).await;
        self.note(outcome)
    }

    async fn run<T>(
        &self,
        sql: &str,
        statement: impl AsyncFnOnce(Statement) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DbError> {
        let work = async { statement(self.lease.prepared(sql).await?).await };
        let outcome = self.lease.track(work).await;
        self.note(outcome).inspect_err(|error| {
            if *error == DbError::StalePlan {
                self.lease.statement_cache.remove(sql, &[]);
            }
        })
    }

    fn note<T>(&self, outcome: Result<T, tokio_postgres::Error>) -> Result<T, DbError> {
        outcome.map_err(|error| {
            self.failed.store(true, Ordering::Relaxed);
            error.into()
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open && self.lease.is_clean() {
            // The first poll sends the message, ahead of whatever the connection's next user sends; nobody needs the
            // answer. With a statement unfinished the lease closes the connection instead.
            let _ = self.lease.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
