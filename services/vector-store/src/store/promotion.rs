//! Very large tenants get partitions of their own, in the months to come.

use embermesh_postgres::DbError;
use embermesh_types::TenantId;

use super::{Owner, Store};

/// Promoted tenants of a space: each is a partition in every month.
const MOST: i64 = 100;
/// How long readers and writers of the space are waited for, and wait.
const PATIENCE: &str = "500ms";

impl Store {
    /// Promotes the tenants that have `promote_rows` rows in a month of a space, by PostgreSQL's own statistics; returns how many. A
    /// space that stays in use for too long has its turn in the next round.
    pub(crate) async fn promote_large_tenants(&self) -> Result<u32, DbError> {
        if self.settings.promote_rows == 0 {
            return Ok(0);
        }
        let Some(right) = self.only_one("promotion").await? else { return Ok(0) };
        let mut promoted = 0;
        for (space, tenant) in self.large_tenants().await? {
            let owner = Owner::of(tenant);
            let session = self.pools.owner.system().with("lock_timeout", PATIENCE);
            let sql = "SELECT promote_tenant($1, $2, $3, $4)";
            let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 4] =
                [&owner.tenant, &owner.shard, &space, &self.clock.now()];
            match session.execute_returning(sql, &parameters).await {
                Ok(rows) => {
                    let months: i32 = rows.first().ok_or(DbError::RowCount(0))?.try_get(0)?;
                    tracing::info!(%tenant, space, months, "a very large tenant gets partitions of its own");
                    promoted += 1;
                }
                Err(DbError::Conflict(_)) => {
                    tracing::info!(%tenant, space, "the space is in use, the tenant is promoted later");
                }
                Err(error) => return Err(error),
            }
        }
        right.rollback().await?;
        Ok(promoted)
    }

    /// Tenants to promote, with the numbers of the spaces.
    async fn large_tenants(&self) -> Result<Vec<(i32, TenantId)>, DbError> {
        let sql = "SELECT space_no, tenant_id FROM (
                SELECT large.*, row_number() OVER (PARTITION BY space_no ORDER BY rows DESC) + (
                    SELECT count(*) FROM promoted_tenants p WHERE p.space_no = large.space_no) AS place
                FROM (
                    SELECT l.space_no, common.tenant_id, max(common.share * c.reltuples) AS rows
                    FROM leaves l
                        JOIN pg_class c ON c.oid = l.leaf
                        JOIN pg_stats s ON s.schemaname = 'store' AND s.tablename = l.name AND s.attname = 'tenant_id'
                        CROSS JOIN LATERAL unnest(s.most_common_vals::text::uuid[], s.most_common_freqs) AS common (tenant_id, share)
                    WHERE l.tenant_id IS NULL AND common.share * c.reltuples >= $1::float8
                    GROUP BY l.space_no, common.tenant_id
                ) AS large
                WHERE NOT EXISTS (SELECT FROM promoted_tenants p WHERE p.space_no = large.space_no AND p.tenant_id = large.tenant_id)
            ) AS ranked WHERE place <= $2 ORDER BY space_no, place";
        let least = f64::from(self.settings.promote_rows);
        let rows = self.pools.owner.system().query(sql, &[&least, &MOST]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, TenantId::new(row.try_get(1)?)))).collect()
    }
}
