//! Approximate indexes, earned by size: one per partition, built beside the traffic.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_postgres::DbError;

use super::{Store, spaces::Space};
use crate::domain::index::IndexKind;

/// To look whether a partition has earned its index takes at most this part of the time.
const SHARE_OF_LOOKING: u32 = 100;
/// What a row of a graph takes beside its vector, in bytes, with 16 links.
pub(super) const GRAPH_BYTES: u64 = 650;

/// One build at a time; between processes PostgreSQL sees to that.
#[derive(Default)]
pub(super) struct Builds(pub(super) tokio::sync::Mutex<Looked>);

/// When partitions are looked at next: one that has not earned its index is not counted again at once.
#[derive(Default)]
pub(super) struct Looked(HashMap<String, Instant>);

impl Looked {
    pub(super) fn get(&self, name: &str) -> Option<&Instant> {
        self.0.get(name)
    }

    /// Looked at since `begun`, without success.
    pub(super) fn look_later(&mut self, name: String, begun: Instant) {
        self.0.insert(name, begun + SHARE_OF_LOOKING * begun.elapsed());
    }
}

/// A partition without a usable index.
pub(super) struct Leaf {
    pub(super) name: String,
    /// A build that was cut off left an index which is kept up to date and never used.
    pub(super) leftovers: Vec<String>,
}

impl Store {
    /// Builds the indexes that are due, one after another. Of several replicas one works and the others find nothing to do.
    /// Returns how many were built.
    pub(crate) async fn build_due_indexes(&self) -> Result<u32, DbError> {
        let mut looked = self.builds.0.lock().await;
        let Some(right) = self.only_one("indexes").await? else { return Ok(0) };
        let mut built = 0;
        for space in self.spaces.all() {
            if space.id.dimensions() > space.element.indexable_dimensions() {
                continue;
            }
            for leaf in self.leaves_without_index(&space).await? {
                let begun = Instant::now();
                if looked.get(&leaf.name).is_some_and(|next| begun < *next) {
                    continue;
                }
                match self.earned_vectors(&leaf).await? {
                    Some(rows) => {
                        self.build_index(&space, &leaf, rows).await?;
                        // rows are found by it from now on; by how many is not worth waiting for
                        self.refresh_spaces().await?;
                        built += 1;
                    }
                    None => looked.look_later(leaf.name, begun),
                }
            }
        }
        let measured = self.measure_indexes().await?;
        right.rollback().await?;
        if measured > 0 {
            self.refresh_spaces().await?;
        }
        Ok(built)
    }

    /// Whether a month of a space has earned an index that it does not have yet.
    pub(super) async fn has_due_index(&self, space: &Arc<Space>) -> Result<bool, DbError> {
        if space.id.dimensions() > space.element.indexable_dimensions() {
            return Ok(false);
        }
        for leaf in self.leaves_without_index(space).await? {
            if self.earned_vectors(&leaf).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn leaves_without_index(&self, space: &Arc<Space>) -> Result<Vec<Leaf>, DbError> {
        let sql = "SELECT l.name::text, coalesce(array_agg(c.relname::text) FILTER (WHERE c.relname IS NOT NULL), '{}')
            FROM leaves l
                LEFT JOIN pg_index x ON x.indrelid = l.leaf
                    AND EXISTS (SELECT FROM pg_class i JOIN pg_am a ON a.oid = i.relam
                        WHERE i.oid = x.indexrelid AND a.amname IN ('hnsw', 'ivfflat'))
                LEFT JOIN pg_class c ON c.oid = x.indexrelid
            WHERE l.space_no = $1
            GROUP BY l.name HAVING bool_or(x.indisvalid) IS NOT TRUE
            ORDER BY l.name";
        let rows = self.pools.owner.system().query(sql, &[&space.no]).await?;
        rows.iter().map(|row| Ok(Leaf { name: row.try_get(0)?, leftovers: row.try_get(1)? })).collect()
    }

    /// How many rows a partition has, if it has earned its index of vectors.
    async fn earned_vectors(&self, leaf: &Leaf) -> Result<Option<u64>, DbError> {
        self.earned(leaf, self.settings.hnsw.min_rows, self.settings.hnsw.min_tenant_rows).await
    }

    /// How many rows a partition has, if it has earned an index. Counted, because the statistics of PostgreSQL lag behind and are
    /// lost in a crash; no further than needed until it is clear.
    pub(super) async fn earned(
        &self,
        leaf: &Leaf,
        min_rows: u32,
        min_tenant_rows: u32,
    ) -> Result<Option<u64>, DbError> {
        let (session, name) = (self.pools.owner.system(), &leaf.name);
        let (least, of_one) = (i64::from(min_rows), i64::from(min_tenant_rows));
        let sql = format!("SELECT count(*) FROM (SELECT FROM {name} LIMIT $1) AS rows");
        if session.query_one(&sql, &[&least]).await?.try_get::<_, i64>(0)? < least {
            return Ok(None);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {name} GROUP BY tenant_id HAVING count(*) >= $1), (SELECT count(*) FROM {name})"
        );
        let row = session.query_one(&sql, &[&of_one]).await?;
        let (large, rows): (bool, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(large.then_some(rows.unsigned_abs()))
    }

    async fn build_index(&self, space: &Space, leaf: &Leaf, rows: u64) -> Result<(), DbError> {
        let (settings, builder) = (&self.settings, self.pools.builder.system());
        let (name, kind, classes) = (&leaf.name, settings.index, space.element.operator_class());
        let (memory, begun) = (u64::from(settings.hnsw.build_memory_mb), Instant::now());
        tracing::info!(space = %space.id, partition = %name, %kind, rows, "building an index");
        for leftover in &leaf.leftovers {
            builder.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {leftover}")).await?;
        }
        let with = match kind {
            IndexKind::Hnsw => {
                let bytes = u64::from(space.id.dimensions()) * space.element.bytes() + GRAPH_BYTES;
                let needed = (rows * bytes).div_ceil(1 << 20);
                if needed > memory {
                    tracing::warn!(partition = %name, needed_mb = needed, build_memory_mb = memory,
                        "the graph outgrows hnsw.build_memory_mb, building it takes several times longer");
                }
                format!("m = {}, ef_construction = {}", settings.hnsw.m, settings.hnsw.ef_construction)
            }
            IndexKind::Ivfflat => {
                let lists = (rows / u64::from(settings.ivfflat.rows_per_list)).clamp(1, 32_768);
                format!("lists = {lists}")
            }
        };
        let workers = settings.hnsw.build_workers;
        builder
            .batch_execute(&format!(
                "SET maintenance_work_mem = '{memory}MB'; SET max_parallel_maintenance_workers = {workers}"
            ))
            .await?;
        // each of these has to be alone: together they would be one transaction, in which neither can run
        let build = format!(
            "CREATE INDEX CONCURRENTLY {name}_{kind} ON {name} USING {kind} (embedding {classes}) WITH ({with})"
        );
        tokio::select! {
            outcome = builder.batch_execute(&build) => outcome?,
            never = self.tell_progress(name) => match never {},
        }
        builder.batch_execute(&format!("ANALYZE {name}")).await?;
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(space = %space.id, partition = %name, %kind, rows, seconds, "index is ready");
        Ok(())
    }

    /// Logs how far a build is, now and then, for ever.
    async fn tell_progress(&self, leaf: &str) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let sql =
                "SELECT phase, tuples_done, blocks_done, blocks_total FROM pg_stat_progress_create_index
                WHERE relid = to_regclass($1)";
            if let Ok(Some(row)) = self.pools.owner.system().query_opt(sql, &[&leaf]).await {
                let (phase, [rows, blocks, of]): (String, [i64; 3]) =
                    (row.get(0), [row.get(1), row.get(2), row.get(3)]);
                tracing::info!(partition = leaf, phase, rows, blocks, of, "index is being built");
            }
        }
    }
}
