//! Changes of configuration: one at a time over all replicas, each with the next version.

use embermesh_postgres::{DbError, Row, Session, Transaction, types::ToSql};
use embermesh_proto::internal::v1::Section;
use embermesh_types::TenantId;

/// What a change has made.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    pub(crate) made: T,
    /// The version from which on the stream holds it.
    pub(crate) version: i64,
}

/// An open change. It holds the lock on the version counter, so it sees no other change begin or end until it is committed;
/// dropping it undoes everything.
#[must_use = "a change that is not committed is undone"]
pub(crate) struct Change {
    transaction: Transaction,
    version: i64,
}

impl Change {
    /// Waits for its turn.
    pub(crate) async fn begin(session: Session<'_>) -> Result<Self, DbError> {
        let transaction = session.begin().await?;
        let counter = "UPDATE change_counter SET version = version + 1 RETURNING version";
        let version = transaction.query_one(counter, &[]).await?.try_get(0)?;
        Ok(Self { transaction, version })
    }

    /// Tells the stream to read an entry again.
    pub(crate) async fn touch(
        &self,
        section: Section,
        tenant: Option<TenantId>,
        key: &[&str],
    ) -> Result<(), DbError> {
        let section = i16::try_from(i32::from(section)).unwrap_or_default();
        let sql = "INSERT INTO changes (version, section, tenant_id, key) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        self.execute(sql, &[&self.version, &section, &tenant.map(TenantId::uuid), &key]).await.map(drop)
    }

    pub(crate) async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DbError> {
        self.transaction.execute(sql, parameters).await
    }

    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.transaction.query(sql, parameters).await
    }

    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        self.transaction.query_opt(sql, parameters).await
    }

    pub(crate) async fn query_one(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DbError> {
        self.transaction.query_one(sql, parameters).await
    }

    /// Makes it last; answers its version.
    pub(crate) async fn commit(self) -> Result<i64, DbError> {
        self.transaction.commit().await?;
        Ok(self.version)
    }
}
