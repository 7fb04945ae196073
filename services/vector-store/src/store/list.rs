//! Rows in the order of their making, newest first.

use std::{fmt::Write as _, sync::Arc};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Reader};
use embermesh_proto::internal::v1::StoreRow;
use embermesh_types::{Consistency, EmbeddingId, TenantId};

use super::{Owner, Store, conditions::Conditions, row, spaces::Space};
use crate::{
    domain::{filter::Filter, id, page_token},
    error::of_database,
};

impl Store {
    /// One page, and the token of the next one, empty at the end.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        consistency: Consistency,
        filter: &Filter,
        page_size: u32,
        page_token: &str,
        with_vector: bool,
    ) -> Result<(Vec<StoreRow>, String), Error> {
        let _timer = self.metrics.query("list");
        let after = page_token::read(page_token, filter)?;
        let reads = &self.pools.reads.reader(consistency).await;
        let mut rows = self
            // one more than a page shows whether there is another
            .newest(reads, Owner::of(tenant), filter, after, i64::from(page_size) + 1, with_vector)
            .await
            .map_err(of_database)?;
        if rows.len() <= page_size as usize {
            return Ok((rows, String::new()));
        }
        rows.truncate(page_size as usize);
        let last = rows.last().and_then(|row| row.embedding_id.parse().ok());
        let token = last.map(|last| page_token::write(last, filter)).unwrap_or_default();
        Ok((rows, token))
    }

    async fn newest(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        filter: &Filter,
        after: Option<EmbeddingId>,
        limit: i64,
        with_vector: bool,
    ) -> Result<Vec<StoreRow>, DbError> {
        let spaces = self.spaces_to_visit(reads, owner, filter).await?;
        if spaces.is_empty() {
            return Ok(Vec::new());
        }
        let mut conditions = Conditions::of(owner, filter);
        if let Some(last) = after {
            let (time, id) = (conditions.parameter(id::created_at(last)), conditions.parameter(last.uuid()));
            // the first part is implied by the second, but only it skips partitions
            conditions
                .and_text(&format!("created_at <= {time} AND (created_at, embedding_id) < ({time}, {id})"));
        }
        let limit = conditions.parameter(limit);
        let order = format!("ORDER BY created_at DESC, embedding_id DESC LIMIT {limit}");
        let columns = row::columns(with_vector);
        let mut arms = String::new();
        for (at, space) in spaces.iter().enumerate() {
            let union = if at == 0 { "" } else { " UNION ALL " };
            let (table, place) = (space.table(), i32::try_from(at).unwrap_or(i32::MAX));
            // writing to a string cannot fail
            let _ = write!(
                arms,
                "{union}(SELECT {place} AS place, {} AS space_no, created_at, {columns} FROM {table} WHERE {} {order})",
                space.no,
                conditions.sql()
            );
        }
        // a row that a migration has copied is in two spaces, side by side in this order: the one where it was put is shown
        let sql = match spaces.len() {
            1 => format!("SELECT * FROM ({arms}) AS page {order}"),
            _ => format!(
                "SELECT DISTINCT ON (page.created_at, page.embedding_id) page.* FROM ({arms}) AS page
                    LEFT JOIN embedding_keys k ON k.tenant_id = $1 AND k.shard_key = $2
                        AND k.embedding_id = page.embedding_id AND k.space_no = page.space_no
                ORDER BY page.created_at DESC, page.embedding_id DESC, k.migration_id IS NOT NULL, place LIMIT {limit}"
            ),
        };
        let rows = reads.tenant(owner.tenant).query(&sql, &conditions.parameters()).await?;
        rows.iter()
            .map(|found| {
                let place: i32 = found.try_get(0)?;
                let space = spaces.get(place as usize).ok_or(DbError::RowCount(0))?;
                row::read(space, found, 3)
            })
            .collect()
    }

    /// The space that a filter names, or all that the tenant has rows in.
    pub(super) async fn spaces_to_visit(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        filter: &Filter,
    ) -> Result<Vec<Arc<Space>>, DbError> {
        match &filter.space {
            Some(space) => Ok(self.space(space).await?.into_iter().collect()),
            None => self.spaces_of(reads, owner).await,
        }
    }
}
