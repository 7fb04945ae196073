//! Months that leave: detached beside the traffic, written out whole, dropped; and months that come back.
//!
//! A month is detached first, so that nothing changes in what is written out. What was begun can be seen from the tables alone: a
//! table with the name of a partition that is none is a month on its way out, which the next archiving takes up.

use bytes::Bytes;
use embermesh_postgres::{DbError, Transaction};
use futures::Stream;
use uuid::Uuid;

use super::Store;
use crate::domain::month::Month;

/// What is written out: the row with the hash that it is known by.
const COLUMNS: &str = "l.tenant_id, l.shard_key, l.created_at, l.embedding_id, l.agent_id, l.context_id, l.metadata, l.model, \
    l.provider, l.input_type, l.task_type, l.pii_policy_version, l.tokens, l.cost_nano_usd, l.content, l.embedding";

/// Pages of a month whose keys are deleted in one transaction; about ten thousand rows.
const PAGES_AT_ONCE: i64 = 2_000;

/// A month of a space on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) space_no: i32,
    pub(crate) space_id: String,
    /// The SQL type of its vectors, with their dimensions.
    pub(crate) vector: String,
    pub(crate) month: Month,
    /// The name of its table.
    pub(crate) table: String,
    attached: Option<Attached>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    Whole,
    /// A detaching that was cut off.
    Leaving,
}

impl Store {
    /// The right to archive, unless another process does.
    pub(crate) async fn may_archive(&self) -> Result<Option<Transaction>, DbError> {
        self.only_one("archive").await
    }

    /// The months before this one that are still there, oldest first, and those that an earlier archiving left behind.
    pub(crate) async fn leaving(&self, before: Month) -> Result<Vec<Leaving>, DbError> {
        let sql = "SELECT s.space_no, s.space_id, s.element, s.dimensions, c.relname::text,
                h.inhrelid IS NOT NULL, coalesce(h.inhdetachpending, false)
            FROM spaces s
                JOIN pg_class c ON c.relnamespace = 'store'::regnamespace AND c.relkind IN ('r', 'p')
                    AND c.relname ~ ('^' || s.table_name || '_[0-9]{4}_[0-9]{2}$')
                LEFT JOIN pg_inherits h ON h.inhrelid = c.oid
            ORDER BY right(c.relname, 7), s.space_no";
        let mut leaving = Vec::new();
        for row in self.pools.owner.system().query(sql, &[]).await? {
            let table: String = row.try_get(4)?;
            let (attached, pending): (bool, bool) = (row.try_get(5)?, row.try_get(6)?);
            let Some(month) = Month::of_partition(&table) else { continue };
            if attached && month >= before {
                continue;
            }
            let (element, dimensions): (String, i32) = (row.try_get(2)?, row.try_get(3)?);
            let vector = if element == "half" { "halfvec" } else { "vector" };
            leaving.push(Leaving {
                space_no: row.try_get(0)?,
                space_id: row.try_get(1)?,
                vector: format!("{vector}({dimensions})"),
                month,
                table,
                attached: attached.then_some(if pending { Attached::Leaving } else { Attached::Whole }),
            });
        }
        Ok(leaving)
    }

    /// Takes a month out of its space. Whoever reads or writes the space goes on; their transactions that know the month are waited for.
    pub(crate) async fn detach(&self, leaving: &Leaving) -> Result<(), DbError> {
        let Leaving { space_no, table, .. } = leaving;
        let how = match leaving.attached {
            None => return Ok(()),
            Some(Attached::Whole) => "CONCURRENTLY",
            Some(Attached::Leaving) => "FINALIZE",
        };
        let sql = format!("ALTER TABLE space_{space_no} DETACH PARTITION {table} {how}");
        self.pools.builder.system().batch_execute(&sql).await
    }

    /// What tells a detached month from every other, also from one of the same name that is detached after it.
    pub(crate) async fn identify(&self, leaving: &Leaving) -> Result<Uuid, DbError> {
        let session = self.pools.builder.system();
        if leaving.attached.is_none() {
            let sql = "SELECT obj_description(to_regclass($1), 'pg_class')";
            let comment: Option<String> = session.query_one(sql, &[&leaving.table]).await?.try_get(0)?;
            if let Some(id) = comment.and_then(|id| id.parse().ok()) {
                return Ok(id);
            }
        }
        let id = Uuid::now_v7();
        session.batch_execute(&format!("COMMENT ON TABLE {} IS '{id}'", leaving.table)).await?;
        Ok(id)
    }

    /// Gives everything of a detached month to `take`, in PostgreSQL's binary format.
    pub(crate) async fn write_out<E: From<DbError>>(
        &self,
        leaving: &Leaving,
        take: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let Leaving { space_no, table, .. } = leaving;
        let transaction = self.pools.builder.system().begin().await?;
        // a row whose key was taken away by an earlier archiving still belongs into the archive
        let sql = format!(
            "COPY (SELECT {COLUMNS}, coalesce(k.dedup_hash, ''::bytea), coalesce(k.truncated, false) FROM {table} l
                LEFT JOIN embedding_keys k ON k.tenant_id = l.tenant_id AND k.shard_key = l.shard_key
                    AND k.embedding_id = l.embedding_id AND k.space_no = {space_no}
            ) TO STDOUT (FORMAT binary)"
        );
        transaction.copy_out(&sql, take).await?;
        Ok(transaction.rollback().await?)
    }

    /// How many rows a detached month has.
    pub(crate) async fn rows_of(&self, leaving: &Leaving) -> Result<u64, DbError> {
        let sql = format!("SELECT count(*) FROM {}", leaving.table);
        let row = self.pools.builder.system().query_one(&sql, &[]).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// Ends a month that was written out. Its keys go some pages at a time: whoever stores an equal row meanwhile waits for no more.
    pub(crate) async fn forget(&self, leaving: &Leaving) -> Result<(), DbError> {
        let (table, session, space) = (&leaving.table, self.pools.builder.system(), leaving.space_no);
        let leaves = "SELECT oid::regclass::text, pg_relation_size(oid) / current_setting('block_size')::bigint FROM pg_class
            WHERE relkind = 'r' AND (relname = $1 OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)))
                AND relnamespace = 'store'::regnamespace";
        for leaf in session.query(leaves, &[table]).await? {
            let (leaf, pages): (String, i64) = (leaf.try_get(0)?, leaf.try_get(1)?);
            let mut page = 0;
            while page < pages {
                let end = page + PAGES_AT_ONCE;
                let keys = format!(
                    "DELETE FROM embedding_keys k USING {leaf} l
                        WHERE l.ctid >= '({page},0)' AND l.ctid < '({end},0)'
                            AND k.tenant_id = l.tenant_id AND k.shard_key = l.shard_key AND k.embedding_id = l.embedding_id
                            AND k.space_no = {space}"
                );
                session.batch_execute(&keys).await?;
                page = end;
            }
        }
        session.batch_execute(&format!("DROP TABLE {table}")).await
    }

    /// Brings the rows of an archive back into their space; `more` is what it holds of each besides its columns. Rows that were stored
    /// again since are left out; returns how many came back and how many the archive holds. All or none.
    pub(crate) async fn bring_back<E: From<DbError>>(
        &self,
        space_no: i32,
        month: Month,
        more: &str,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(u64, u64), E> {
        let transaction = self.pools.builder.system().begin().await?;
        let table = format!("space_{space_no}");
        // into the partition itself: the table's policies show rows to their tenants alone
        let leaf = format!("{table}_{}", month.to_string().replace('-', "_"));
        // the month's partition may be gone with it
        transaction.execute("SELECT add_partitions($1, $2)", &[&space_no, &month.begin()]).await?;
        let define = format!(
            "CREATE TEMPORARY TABLE archived (LIKE {table}, dedup_hash bytea NOT NULL, truncated boolean NOT NULL DEFAULT false)
            ON COMMIT DROP"
        );
        transaction.batch_execute(&define).await?;
        let columns = COLUMNS.replace("l.", "");
        let words = &self.words.columns_of_new;
        let held = transaction
            .copy_in(&format!("COPY archived ({columns}, {more}) FROM STDIN (FORMAT binary)"), pieces)
            .await?;
        let back = transaction
            .execute(
                &format!(
                    "WITH won AS (
                        INSERT INTO embedding_keys (tenant_id, shard_key, embedding_id, space_no, created_at, dedup_hash, truncated)
                        SELECT tenant_id, shard_key, embedding_id, {space_no}, created_at, dedup_hash, truncated FROM archived
                        WHERE dedup_hash <> ''::bytea ORDER BY tenant_id, dedup_hash
                        ON CONFLICT DO NOTHING
                        RETURNING tenant_id, embedding_id
                    )
                    INSERT INTO {leaf} ({columns}, text_language, lexemes)
                    SELECT {columns}, {words} FROM archived JOIN won USING (tenant_id, embedding_id)"
                ),
                &[],
            )
            .await?;
        transaction.commit().await?;
        Ok((back, held))
    }

    /// The number of a space that is to take an archive, made where it is missing.
    pub(crate) async fn space_for(&self, id: &str, vector: &str) -> Result<Option<i32>, DbError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        let space = self.space_or_create(&id).await?;
        let same = vector == format!("{}({})", space.element.sql_type(), id.dimensions());
        Ok(same.then_some(space.no))
    }
}
