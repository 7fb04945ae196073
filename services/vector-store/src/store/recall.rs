//! How much a search by a graph has to look at: measured on the rows that are in it.

use embermesh_postgres::DbError;

use super::Store;
use crate::domain::recall::{NEAREST, Sample};

/// Distances that a measurement may take, exact ones of all rows for each of its samples.
const DISTANCES: u64 = 30_000_000;
/// Searches of a measurement: few tell little, many take long where there are many rows.
const SEARCHES: std::ops::RangeInclusive<u64> = 50..=200;
/// What is tried, least first.
const LADDER: [u16; 12] = [20, 40, 60, 80, 100, 120, 160, 200, 300, 400, 600, 1_000];

/// A graph whose recall is not known.
struct Graph {
    name: String,
    leaf: String,
    rows: u64,
}

impl Store {
    /// Measures the graphs that have not been; returns how many that were.
    pub(super) async fn measure_indexes(&self) -> Result<u32, DbError> {
        if self.settings.hnsw.recall == 0.0 {
            return Ok(0);
        }
        let owner = self.pools.owner.system();
        let forget = "DELETE FROM index_recall WHERE to_regclass(quote_ident(index_name)) IS NULL";
        owner.execute(forget, &[]).await?;
        let graphs = self.unmeasured_graphs().await?;
        let mut measured = 0;
        for graph in graphs {
            self.measure_recall(&graph).await?;
            measured += 1;
        }
        Ok(measured)
    }

    async fn unmeasured_graphs(&self) -> Result<Vec<Graph>, DbError> {
        let sql = "SELECT c.relname::text, p.relname::text, greatest(p.reltuples, 0)::bigint
            FROM leaves l
                JOIN pg_class p ON p.oid = l.leaf
                JOIN pg_index x ON x.indrelid = l.leaf AND x.indisvalid
                JOIN pg_class c ON c.oid = x.indexrelid
                JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
            WHERE NOT EXISTS (SELECT FROM index_recall r WHERE r.index_name = c.relname)
            ORDER BY c.relname";
        let rows = self.pools.owner.system().query(sql, &[]).await?;
        let graph = |row: &embermesh_postgres::Row| {
            Ok(Graph {
                name: row.try_get(0)?,
                leaf: row.try_get(1)?,
                rows: row.try_get::<_, i64>(2)?.unsigned_abs(),
            })
        };
        rows.iter().map(graph).collect()
    }

    /// Searches for some rows of the graph beside all others, by it and exactly. What is as near as the tenth is as good.
    async fn measure_recall(&self, graph: &Graph) -> Result<(), DbError> {
        let Graph { name, leaf, rows } = graph;
        let begun = std::time::Instant::now();
        let searches = (DISTANCES / rows.max(&1)).clamp(*SEARCHES.start(), *SEARCHES.end());
        // on one connection, whose temporary table lasts until the end
        let work = self.pools.builder.system().begin().await?;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let percent = (150.0 * searches as f64 / (*rows).max(1) as f64).min(100.0);
        work.batch_execute(&format!(
            "SET LOCAL enable_seqscan = on; SET LOCAL jit = off;
            CREATE TEMPORARY TABLE samples ON COMMIT DROP AS
                SELECT row_number() OVER () AS no, embedding_id, embedding FROM {leaf}
                TABLESAMPLE BERNOULLI ({percent}) LIMIT {searches};
            ALTER TABLE samples ADD COLUMN tenth double precision;
            UPDATE samples s SET tenth = (
                SELECT max(distance) FROM (
                    SELECT (v.embedding <=> s.embedding) + 0 AS distance FROM {leaf} v
                    WHERE v.embedding_id <> s.embedding_id ORDER BY 1 LIMIT {NEAREST}) AS nearest)"
        ))
        .await?;
        let found = format!(
            "SELECT (SELECT count(*) FROM (
                    SELECT v.embedding_id, v.embedding <=> s.embedding AS distance FROM {leaf} v
                    ORDER BY v.embedding <=> s.embedding LIMIT {}) AS near
                WHERE near.embedding_id <> s.embedding_id AND near.distance <= s.tenth + 1e-7)
            FROM samples s WHERE tenth IS NOT NULL ORDER BY no",
            NEAREST + 1
        );
        let mut chosen = None;
        for ef in LADDER.into_iter().filter(|ef| *ef >= self.settings.hnsw.ef_search) {
            work.batch_execute(&format!("SET LOCAL enable_seqscan = off; SET LOCAL hnsw.ef_search = {ef}"))
                .await?;
            let counts = work.query(&found, &[]).await?;
            let counts = counts
                .iter()
                .map(|row| Ok(row.try_get::<_, i64>(0)?))
                .collect::<Result<Vec<_>, DbError>>()?;
            let sample = Sample::of(&counts);
            chosen = Some((ef, sample));
            if sample.reaches(self.settings.hnsw.recall) {
                break;
            }
        }
        let (ef, sample) = chosen.unwrap_or((self.settings.hnsw.ef_search, Sample::default()));
        let keep =
            "INSERT INTO index_recall (index_name, ef_search, recall, measured_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (index_name) DO UPDATE SET ef_search = excluded.ef_search, recall = excluded.recall,
                measured_at = excluded.measured_at";
        work.execute(keep, &[name, &i32::from(ef), &sample.mean, &self.clock.now()]).await?;
        work.commit().await?;
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(index = %name, rows, searches, ef_search = ef, recall = sample.mean, seconds, "recall is measured");
        Ok(())
    }
}
