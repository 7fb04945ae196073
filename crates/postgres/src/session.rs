//! Single statements in one round trip: BEGIN, the tenant, the statement and COMMIT leave together.

use std::fmt::{Display, Write as _};
use std::future::Future;

use embermesh_types::WriteToken;
use futures::future::{OptionFuture, join4};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::lease::Lease;
use crate::write_mark::{self, WHERE_NOW};
use crate::{Database, DbError, Transaction, WriteMark};

/// The right to run statements for one tenant, or for none. Made by [`Database::tenant`] and [`Database::system`].
#[derive(Clone, Debug)]
pub struct Session<'a> {
    database: &'a Database,
    /// `; SET LOCAL …` for every setting
    settings: String,
    mark: Option<&'a WriteMark>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(database: &'a Database, tenant: Option<Uuid>) -> Self {
        let session = Self { database, settings: String::new(), mark: None };
        match tenant {
            Some(tenant) => session.with("app.tenant", tenant),
            None => session,
        }
    }

    pub(crate) fn with_settings(database: &'a Database, settings: String) -> Self {
        Self { database, settings, mark: None }
    }

    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    /// Adds a setting that lasts exactly as long as each transaction, such as `hnsw.ef_search`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        let value = value.to_string().replace('\'', "''");
        // writing to a string cannot fail
        let _ = write!(self.settings, "; SET LOCAL {name} = '{value}'");
        self
    }

    /// Notes in `mark` where the log is behind each of the single statements that follow, where the database
    /// [has replicas](Database::connect_marking).
    #[must_use]
    pub fn marked(mut self, mark: &'a WriteMark) -> Self {
        self.mark = self.database.marks.then_some(mark);
        self
    }

    /// The same on another database.
    pub(crate) fn on<'b>(&self, database: &'b Database) -> Session<'b> {
        Session { database, settings: self.settings.clone(), mark: None }
    }

    /// Runs a read-only statement and returns its rows. A connection that turns out to be dead is replaced once.
    ///
    /// # Errors
    /// See [`DbError`]; a statement that writes is refused.
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        match self.rows(Access::Read, sql, parameters).await {
            // nothing was written, so nothing can be done twice
            Err(DbError::Unavailable(_) | DbError::StalePlan) => {
                self.rows(Access::Read, sql, parameters).await
            }
            outcome => outcome,
        }
    }

    /// Like [`Session::query`] for at most one row.
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

    /// Like [`Session::query`] for exactly one row.
    ///
    /// # Errors
    /// Also [`DbError::RowCount`] when there is none or there are several.
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, DbError> {
        at_most_one(self.query(sql, parameters).await?)?.ok_or(DbError::RowCount(0))
    }

    /// Runs one writing statement in a transaction of its own; returns the number of rows it changed. It is not
    /// repeated when the connection is lost, because it may have been committed.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, DbError> {
        let attempt = async || {
            let lease = self.database.lease().await?;
            let work = self.pipeline(&lease, Access::Write, sql, async |statement| {
                lease.execute(&statement, parameters).await
            });
            lease.track(work).await
        };
        match attempt().await {
            // refused before it did anything
            Err(DbError::StalePlan) => attempt().await,
            outcome => outcome,
        }
    }

    /// Like [`Session::execute`] for a statement with `RETURNING`.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn execute_returning(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        match self.rows(Access::Write, sql, parameters).await {
            Err(DbError::StalePlan) => self.rows(Access::Write, sql, parameters).await,
            outcome => outcome,
        }
    }

    /// Begins a transaction of several statements. Dropping it rolls back.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        let attempt = async || {
            let lease = self.database.lease().await?;
            lease.track(lease.batch_execute(&self.prologue(Access::Write))).await?;
            Ok(Transaction::new(lease, self.database.marks))
        };
        match attempt().await {
            Err(DbError::Unavailable(_)) => attempt().await,
            outcome => outcome,
        }
    }

    /// Runs statements outside any explicit transaction and without parameters, for DDL such as `CREATE INDEX
    /// CONCURRENTLY`. The session's tenant and settings do not apply.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn batch_execute(&self, sql: &str) -> Result<(), DbError> {
        let lease = self.database.lease().await?;
        Ok(lease.track(lease.batch_execute(sql)).await?)
    }

    /// Like [`Session::query`], and never repeated.
    pub(crate) async fn query_once(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.rows(Access::Read, sql, parameters).await
    }

    async fn rows(
        &self,
        access: Access,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let lease = self.database.lease().await?;
        let work =
            self.pipeline(&lease, access, sql, async |statement| lease.query(&statement, parameters).await);
        lease.track(work).await
    }

    /// Sends the whole transaction at once and checks every answer.
    ///
    /// COMMIT succeeds after a failed statement, as a rollback, so its answer alone proves nothing. The first failure
    /// in order is the cause; the later ones only say that the transaction is aborted.
    async fn pipeline<T, F: Future<Output = Result<T, tokio_postgres::Error>>>(
        &self,
        lease: &Lease,
        access: Access,
        sql: &str,
        run: impl FnOnce(tokio_postgres::Statement) -> F,
    ) -> Result<T, DbError> {
        let statement = lease.prepared(sql).await?;
        let place = match self.mark {
            Some(_) => Some(lease.prepared(WHERE_NOW).await?),
            None => None,
        };
        let place = OptionFuture::from(place.as_ref().map(|statement| lease.query_one(statement, &[])));
        let prologue = self.prologue(access);
        // join4 polls in order and each future sends at its first poll: the order of the messages is this order
        let (begun, output, committed, place) =
            join4(lease.batch_execute(&prologue), run(statement), lease.batch_execute("COMMIT"), place).await;
        begun?;
        let output = output.map_err(DbError::from).inspect_err(|error| {
            if *error == DbError::StalePlan {
                self.database.forget_statement(sql);
            }
        })?;
        committed?;
        if let (Some(mark), Some(place)) = (self.mark, place) {
            // what is committed is committed, wherever it is
            mark.note(place.map_or(WriteToken::Primary, |row| write_mark::read(&row)));
        }
        Ok(output)
    }

    fn prologue(&self, access: Access) -> String {
        let begin = match access {
            Access::Read => "BEGIN READ ONLY",
            Access::Write => "BEGIN",
        };
        format!("{begin}{}", self.settings)
    }
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

pub(crate) fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>, DbError> {
    match rows.len() {
        0 | 1 => Ok(rows.pop()),
        several => Err(DbError::RowCount(several)),
    }
}
