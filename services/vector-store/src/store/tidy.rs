//! What deletions leave behind: dead rows, and dead entries of approximate indexes.

use embermesh_postgres::DbError;

use super::Store;

/// Dead rows for each live one from which on an index is built anew; they take the places of live ones in a search.
const DEAD: &str = "0.2";

impl Store {
    /// Rebuilds indexes with many dead entries beside the traffic, then vacuums and analyzes all tables; says what was done.
    pub(crate) async fn tidy(&self) -> Result<Vec<String>, DbError> {
        let (session, mut done) = (self.pools.builder.system(), Vec::new());
        // a vacuum would repair the graph entry by entry, which takes longer than to build it
        let worn = format!(
            "SELECT i.relname::text FROM pg_stat_user_tables t
                JOIN pg_index x ON x.indrelid = t.relid AND x.indisvalid
                JOIN pg_class i ON i.oid = x.indexrelid
                JOIN pg_am a ON a.oid = i.relam AND a.amname IN ('hnsw', 'ivfflat')
            WHERE t.schemaname = 'store' AND t.n_dead_tup > {DEAD} * greatest(t.n_live_tup, 1)
            ORDER BY i.relname"
        );
        for row in session.query(&worn, &[]).await? {
            let index: String = row.try_get(0)?;
            session.batch_execute(&format!("REINDEX INDEX CONCURRENTLY {index}")).await?;
            done.push(format!("{index}: rebuilt"));
        }
        let tables = "SELECT c.relname::text FROM pg_class c
            WHERE c.relnamespace = 'store'::regnamespace AND c.relkind = 'r' ORDER BY c.relname";
        for row in session.query(tables, &[]).await? {
            let table: String = row.try_get(0)?;
            session.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
        }
        done.push("all tables: vacuumed and analyzed".to_owned());
        Ok(done)
    }
}
