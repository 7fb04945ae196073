//! Work that one process does at a time.

use embermesh_postgres::{DbError, Transaction};

use super::Store;

impl Store {
    /// The right to do some work, unless another process has it. It lasts as long as the transaction, which stays idle meanwhile.
    pub(super) async fn only_one(&self, work: &'static str) -> Result<Option<Transaction>, DbError> {
        let right = self.pools.owner.system().with("idle_in_transaction_session_timeout", 0).begin().await?;
        let sql = "SELECT pg_try_advisory_xact_lock(hashtext('embermesh store ' || $1))";
        if !right.query_one(sql, &[&work]).await?.try_get(0)? {
            return Ok(None);
        }
        // A finished query keeps its snapshot until the next one takes its portal, and CREATE INDEX CONCURRENTLY would wait for
        // that snapshot for ever. A simple query leaves no portal behind.
        right.batch_execute("SELECT 1").await?;
        Ok(Some(right))
    }
}
