//! What a migration would copy, and what room that would take.

use embermesh_errors::Error;
use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::{MeasureReply, SampledText};
use embermesh_types::{AgentId, SpaceId, TenantId};

use crate::{
    error::of_database,
    store::{Owner, Store, indexes::GRAPH_BYTES},
};

/// Of a row in the new space beside its text, metadata and vector: its header and fixed columns, its keys, and its entries in the
/// btrees of row and keys.
const ROW_BYTES: u64 = 450;

impl Store {
    /// Measures the rows of `from` that have no equal one in `to`.
    pub(crate) async fn measure_migration(
        &self,
        tenant: TenantId,
        agent: Option<&AgentId>,
        (from, to): (&SpaceId, &SpaceId),
        sample: u32,
    ) -> Result<MeasureReply, Error> {
        let _timer = self.metrics.query("migration_measure");
        self.measure(tenant, agent, (from, to), sample).await.map_err(of_database)
    }

    async fn measure(
        &self,
        tenant: TenantId,
        agent: Option<&AgentId>,
        (from, to): (&SpaceId, &SpaceId),
        sample: u32,
    ) -> Result<MeasureReply, DbError> {
        let owner = Owner::of(tenant);
        let Some(source) = self.space(from).await? else { return Ok(MeasureReply::default()) };
        // the target may not have a table yet
        let target = self.space(to).await?.map_or(-1, |space| space.no);
        let agent = agent.map_or("", AgentId::as_str);
        let missing = format!(
            "FROM {} v JOIN embedding_keys a ON a.tenant_id = $1 AND a.shard_key = $2
                    AND a.embedding_id = v.embedding_id AND a.space_no = {}
                LEFT JOIN (SELECT dedup_hash, true AS there FROM embedding_keys
                    WHERE tenant_id = $1 AND shard_key = $2 AND space_no = {target}) b ON b.dedup_hash = a.dedup_hash
            WHERE v.tenant_id = $1 AND v.shard_key = $2 AND ($3 = '' OR v.agent_id = $3)",
            source.table(),
            source.no
        );
        let sql = format!(
            "SELECT date_trunc('month', v.created_at), count(*) FILTER (WHERE b.there IS NULL), count(b.there),
                coalesce(sum(v.tokens) FILTER (WHERE b.there IS NULL), 0)::bigint,
                coalesce(sum(pg_column_size(v.content) + pg_column_size(v.metadata)) FILTER (WHERE b.there IS NULL), 0)::bigint
            {missing} GROUP BY 1"
        );
        let rows = self.session(owner).query(&sql, &[&owner.tenant, &owner.shard, &agent]).await?;
        let vector = u64::from(to.dimensions()) * self.settings.element.bytes();
        let hnsw = &self.settings.hnsw;
        let earns = u64::from(hnsw.min_rows.max(hnsw.min_tenant_rows));
        let mut reply = MeasureReply::default();
        for row in &rows {
            let count = |at| Ok::<_, DbError>(row.try_get::<_, i64>(at)?.unsigned_abs());
            let of_month = count(1)?;
            reply.rows += of_month;
            reply.rows_there += count(2)?;
            reply.tokens += count(3)?;
            reply.disk_bytes += count(4)? + of_month * (vector + ROW_BYTES);
            if of_month + count(2)? >= earns
                && to.dimensions() <= self.settings.element.indexable_dimensions()
            {
                reply.index_bytes += of_month * (vector + GRAPH_BYTES);
            }
        }
        if sample > 0 && reply.rows > 0 {
            // hashes are in no order of anything
            let sql = format!(
                "SELECT v.content, v.tokens {missing} AND b.there IS NULL ORDER BY a.dedup_hash LIMIT $4"
            );
            let sample = i64::from(sample);
            let rows =
                self.session(owner).query(&sql, &[&owner.tenant, &owner.shard, &agent, &sample]).await?;
            for row in &rows {
                let tokens = row.try_get::<_, i64>(1)?.unsigned_abs();
                reply.sample.push(SampledText { content: row.try_get(0)?, tokens });
            }
        }
        Ok(reply)
    }
}
