//! How large the tables of spaces are and how often their indexes were used, as PostgreSQL's own statistics have it: no table is read.

use embermesh_postgres::DbError;

use super::Store;

/// The table of one space with all its months.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Number of the space.
    pub(crate) space_no: i32,
    pub(crate) space: String,
    /// An estimate.
    pub(crate) rows: i64,
    /// With indexes and what is kept out of line.
    pub(crate) bytes: i64,
}

/// What was scanned of one index of one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scans {
    pub(crate) oid: u32,
    /// Its name without the month.
    pub(crate) index: String,
    /// Since PostgreSQL's statistics were reset.
    pub(crate) scans: u64,
}

impl Store {
    /// The tables of all spaces, largest first.
    pub(crate) async fn tables(&self) -> Result<Vec<Table>, DbError> {
        // live rows are counted as they come and go, but forgotten in a crash; what a vacuum has written into the catalog is not
        let sql = "SELECT s.space_no, s.space_id,
                coalesce(sum(CASE
                    WHEN coalesce(pg_stat_get_last_vacuum_time(p.oid), pg_stat_get_last_autovacuum_time(p.oid),
                        pg_stat_get_last_analyze_time(p.oid), pg_stat_get_last_autoanalyze_time(p.oid)) IS NULL
                    THEN greatest(p.reltuples::bigint, pg_stat_get_live_tuples(p.oid))
                    ELSE pg_stat_get_live_tuples(p.oid) END), 0)::bigint,
                coalesce(sum(pg_total_relation_size(p.oid)), 0)::bigint AS bytes
            FROM spaces s
                LEFT JOIN leaves l USING (space_no)
                LEFT JOIN pg_class p ON p.oid = l.leaf
            GROUP BY s.space_no ORDER BY bytes DESC, s.space_no";
        let rows = self.pools.app.system().query(sql, &[]).await?;
        let table = |row: &embermesh_postgres::Row| {
            Ok(Table {
                space_no: row.try_get(0)?,
                space: row.try_get(1)?,
                rows: row.try_get(2)?,
                bytes: row.try_get(3)?,
            })
        };
        rows.iter().map(table).collect()
    }

    /// The indexes of these spaces, by month.
    pub(crate) async fn index_scans(&self, spaces: &[i32]) -> Result<Vec<Scans>, DbError> {
        let sql = r"SELECT i.oid, regexp_replace(i.relname::text, '_\d{4}_\d{2}', ''), pg_stat_get_numscans(i.oid)
            FROM leaves l
                JOIN pg_index x ON x.indrelid = l.leaf AND x.indisvalid
                JOIN pg_class i ON i.oid = x.indexrelid
            WHERE l.space_no = ANY($1)
            ORDER BY i.relname";
        let rows = self.pools.app.system().query(sql, &[&spaces]).await?;
        let scans = |row: &embermesh_postgres::Row| {
            let scans: i64 = row.try_get(2)?;
            Ok(Scans { oid: row.try_get(0)?, index: row.try_get(1)?, scans: scans.unsigned_abs() })
        };
        rows.iter().map(scans).collect()
    }
}
