//! Indexes of words, earned by size: one per partition, built beside the traffic.

use std::time::Instant;

use embermesh_postgres::DbError;

use super::{Store, indexes::Leaf, spaces::Space};

impl Store {
    /// Builds the indexes that are due, one after another. Of several replicas one works and the others find nothing to do.
    /// Returns how many were built.
    pub(crate) async fn build_due_word_indexes(&self) -> Result<u32, DbError> {
        let settings = &self.settings.text_search;
        let mut looked = self.builds.0.lock().await;
        let Some(right) = self.only_one("indexes").await? else { return Ok(0) };
        let mut built = 0;
        for space in self.spaces.all() {
            for leaf in self.leaves_without_word_index(&space).await? {
                let (begun, name) = (Instant::now(), format!("words of {}", leaf.name));
                if looked.get(&name).is_some_and(|next| begun < *next) {
                    continue;
                }
                match self.earned(&leaf, settings.min_rows, settings.min_tenant_rows).await? {
                    Some(rows) => {
                        self.build_word_index(&space, &leaf, rows).await?;
                        built += 1;
                    }
                    None => looked.look_later(name, begun),
                }
            }
        }
        right.rollback().await?;
        Ok(built)
    }

    /// The partitions without an index of the language, and what they have in its place: one of another language, or one that was
    /// never finished.
    async fn leaves_without_word_index(&self, space: &Space) -> Result<Vec<Leaf>, DbError> {
        let sql = "SELECT l.name::text, coalesce(array_agg(c.relname::text) FILTER (WHERE c.relname IS NOT NULL), '{}')
            FROM leaves l
                LEFT JOIN pg_index x ON x.indrelid = l.leaf
                    AND EXISTS (SELECT FROM pg_class i JOIN pg_am a ON a.oid = i.relam AND a.amname = 'gin'
                        WHERE i.oid = x.indexrelid)
                LEFT JOIN pg_class c ON c.oid = x.indexrelid
            WHERE l.space_no = $1
            GROUP BY l.name
            HAVING bool_or(x.indisvalid AND c.relname = l.name || '_' || $2) IS NOT TRUE
            ORDER BY l.name";
        let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 2] =
            [&space.no, &self.words.in_index_name()];
        let rows = self.pools.owner.system().query(sql, &parameters).await?;
        rows.iter().map(|row| Ok(Leaf { name: row.try_get(0)?, leftovers: row.try_get(1)? })).collect()
    }

    async fn build_word_index(&self, space: &Space, leaf: &Leaf, rows: u64) -> Result<(), DbError> {
        let (builder, name, language) = (self.pools.builder.system(), &leaf.name, self.words.in_index_name());
        let begun = Instant::now();
        tracing::info!(space = %space.id, partition = %name, language, rows, "building an index of words");
        for leftover in &leaf.leftovers {
            builder.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {leftover}")).await?;
        }
        let memory = self.settings.hnsw.build_memory_mb;
        builder.batch_execute(&format!("SET maintenance_work_mem = '{memory}MB'")).await?;
        let of_row = &self.words.of_row;
        let build = format!("CREATE INDEX CONCURRENTLY {name}_{language} ON {name} USING gin (({of_row}))");
        builder.batch_execute(&build).await?;
        builder.batch_execute(&format!("ANALYZE {name}")).await?;
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(space = %space.id, partition = %name, language, rows, seconds, "index of words is ready");
        Ok(())
    }
}
