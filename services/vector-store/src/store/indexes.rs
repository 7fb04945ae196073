//! HNSW indexes, earned by size: one per partition, built beside the traffic.

use std::sync::Arc;

use embermesh_postgres::DbError;

use super::{Store, spaces::Space};

/// A partition without a usable index.
struct Leaf {
    name: String,
    /// A build that was cut off left an index which is kept up to date and never used.
    leftover: bool,
}

impl Store {
    /// Builds the indexes that are due, one after another. Of several replicas one works and the others find nothing to do.
    /// Returns how many were built.
    pub(crate) async fn build_due_indexes(&self) -> Result<u32, DbError> {
        let _turn = self.index_build.lock().await;
        // the lock lives as long as this transaction, which stays idle during the builds
        let lock = self.pools.owner.system().with("idle_in_transaction_session_timeout", 0).begin().await?;
        let locked = lock
            .query_one("SELECT pg_try_advisory_xact_lock(hashtext('embermesh store indexes'))", &[])
            .await?;
        if !locked.try_get(0)? {
            return Ok(0);
        }
        // A finished query keeps its snapshot until the next one takes its portal, and CREATE INDEX CONCURRENTLY would wait for
        // that snapshot for ever. A simple query leaves no portal behind.
        lock.batch_execute("SELECT 1").await?;
        let mut built = 0;
        for space in self.spaces.all() {
            if space.id.dimensions() > space.element.indexable_dimensions() {
                continue;
            }
            for leaf in self.leaves_without_index(&space).await? {
                if self.is_large(&leaf).await? {
                    self.build_index(&space, &leaf).await?;
                    built += 1;
                }
            }
        }
        lock.rollback().await?;
        if built > 0 {
            self.refresh_spaces().await?;
        }
        Ok(built)
    }

    async fn leaves_without_index(&self, space: &Arc<Space>) -> Result<Vec<Leaf>, DbError> {
        let sql = "SELECT c.relname::text, i.indexrelid IS NOT NULL
            FROM pg_inherits h
                JOIN pg_class c ON c.oid = h.inhrelid
                LEFT JOIN pg_index i ON i.indexrelid = to_regclass(c.relname || '_hnsw')
            WHERE h.inhparent = to_regclass($1) AND i.indisvalid IS NOT TRUE
            ORDER BY c.relname";
        let rows = self.pools.owner.system().query(sql, &[&space.table().to_string()]).await?;
        rows.iter().map(|row| Ok(Leaf { name: row.try_get(0)?, leftover: row.try_get(1)? })).collect()
    }

    /// Counts no further than needed. The statistics of PostgreSQL lag behind, and are lost in a crash.
    async fn is_large(&self, leaf: &Leaf) -> Result<bool, DbError> {
        let least = i64::from(self.settings.hnsw.min_rows);
        let sql = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT $1) AS rows", leaf.name);
        let row = self.pools.owner.system().query_one(&sql, &[&least]).await?;
        Ok(row.try_get::<_, i64>(0)? >= least)
    }

    async fn build_index(&self, space: &Space, leaf: &Leaf) -> Result<(), DbError> {
        let (hnsw, builder) = (&self.settings.hnsw, self.pools.builder.system());
        let (name, classes) = (&leaf.name, space.element.operator_class());
        tracing::info!(space = %space.id, partition = %name, "building an hnsw index");
        if leaf.leftover {
            builder.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}_hnsw")).await?;
        }
        builder
            .batch_execute(&format!(
                "SET maintenance_work_mem = '{}MB'; SET max_parallel_maintenance_workers = {}",
                hnsw.build_memory_mb, hnsw.build_workers
            ))
            .await?;
        // each of these has to be alone: together they would be one transaction, in which neither can run
        builder
            .batch_execute(&format!(
                "CREATE INDEX CONCURRENTLY {name}_hnsw ON {name} USING hnsw (embedding {classes}) \
                 WITH (m = {}, ef_construction = {})",
                hnsw.m, hnsw.ef_construction
            ))
            .await?;
        builder.batch_execute(&format!("ANALYZE {name}")).await?;
        tracing::info!(space = %space.id, partition = %name, "hnsw index is ready");
        Ok(())
    }
}
