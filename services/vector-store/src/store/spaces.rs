//! The registry of spaces, and the tables behind them.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use embermesh_postgres::{DbError, Reader, Row};
use embermesh_types::SpaceId;
use uuid::Uuid;

use super::{Owner, Store};
use crate::domain::{
    filter::Filter,
    index::{Index, IndexKind, Leaf, asked},
    month::Month,
    vector::Element,
};

/// A space that has a table.
pub(crate) struct Space {
    pub(crate) no: i32,
    pub(crate) id: SpaceId,
    pub(crate) element: Element,
    /// What has an approximate index, or holds the rows of one tenant alone.
    leaves: RwLock<Arc<[Leaf]>>,
    /// The time for which this process knows that there are partitions.
    pub(super) covered: RwLock<Range<SystemTime>>,
}

impl Space {
    /// The name of its table.
    pub(super) fn table(&self) -> impl fmt::Display + use<> {
        let no = self.no;
        fmt::from_fn(move |f| write!(f, "space_{no}"))
    }

    /// The indexes of the months in which rows of the owner and the filter can be.
    pub(super) fn indexed_within(&self, owner: Owner, filter: &Filter) -> Vec<Index> {
        let leaves = Arc::clone(&self.leaves.read().unwrap_or_else(PoisonError::into_inner));
        asked(&leaves, owner.tenant, filter.after, filter.before)
    }
}

/// What this process knows of the registry. Spaces are never removed or changed.
#[derive(Default)]
pub(crate) struct Spaces(RwLock<HashMap<SpaceId, Arc<Space>>>);

impl Spaces {
    fn get(&self, id: &SpaceId) -> Option<Arc<Space>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn numbered(&self, numbers: &[i32]) -> Vec<Arc<Space>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = known.values().filter(|space| numbers.contains(&space.no)).cloned().collect();
        found.sort_by_key(|space| space.no);
        found
    }

    pub(super) fn all(&self) -> Vec<Arc<Space>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn learn(&self, row: &Row) -> Result<Arc<Space>, DbError> {
        let (no, id, element): (i32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let leaves = leaves(row)?;
        let id: SpaceId =
            id.parse().map_err(|error: embermesh_types::SpaceError| DbError::Protocol(error.to_string()))?;
        let element = if element == Element::Half.as_str() { Element::Half } else { Element::Float };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let space = known.entry(id.clone()).or_insert_with(|| {
            let never = SystemTime::UNIX_EPOCH..SystemTime::UNIX_EPOCH;
            Arc::new(Space { no, id, element, leaves: RwLock::default(), covered: RwLock::new(never) })
        });
        *space.leaves.write().unwrap_or_else(PoisonError::into_inner) = leaves;
        Ok(Arc::clone(space))
    }
}

/// What columns 3 to 6 tell: months, tenants, kinds of indexes, and what to look at in them.
fn leaves(row: &Row) -> Result<Arc<[Leaf]>, DbError> {
    let (months, tenants): (Vec<SystemTime>, Vec<Option<Uuid>>) = (row.try_get(3)?, row.try_get(4)?);
    let (kinds, looked_at): (Vec<Option<String>>, Vec<Option<i32>>) = (row.try_get(5)?, row.try_get(6)?);
    let indexes = kinds.iter().zip(looked_at);
    let leaves =
        months.into_iter().zip(tenants).zip(indexes).map(|((from, tenant), (kind, ef_search))| Leaf {
            kind: kind.as_deref().and_then(IndexKind::named),
            ef_search: ef_search.and_then(|ef| u16::try_from(ef).ok()),
            tenant,
            from,
            until: Month::of(from).next().begin(),
        });
    Ok(leaves.collect())
}

impl Store {
    /// Reads the registry, and which spaces have an index.
    pub(crate) async fn refresh_spaces(&self) -> Result<(), DbError> {
        let sql = "SELECT s.space_no, s.space_id, s.element,
                coalesce(array_agg(i.month AT TIME ZONE 'UTC' ORDER BY i.month, i.name) FILTER (WHERE i.name IS NOT NULL), '{}'),
                coalesce(array_agg(i.tenant_id ORDER BY i.month, i.name) FILTER (WHERE i.name IS NOT NULL), '{}'),
                coalesce(array_agg(i.kind ORDER BY i.month, i.name) FILTER (WHERE i.name IS NOT NULL), '{}'),
                coalesce(array_agg(i.ef_search ORDER BY i.month, i.name) FILTER (WHERE i.name IS NOT NULL), '{}')
            FROM spaces s LEFT JOIN (
                SELECT l.space_no, l.name, l.month, l.tenant_id, x.kind, x.ef_search
                FROM leaves l LEFT JOIN (
                    SELECT x.indrelid, a.amname::text AS kind, r.ef_search
                    FROM pg_index x
                        JOIN pg_class c ON c.oid = x.indexrelid
                        JOIN pg_am a ON a.oid = c.relam AND a.amname IN ('hnsw', 'ivfflat')
                        LEFT JOIN index_recall r ON r.index_name = c.relname
                    WHERE x.indisvalid
                ) x ON x.indrelid = l.leaf
                WHERE x.kind IS NOT NULL OR l.tenant_id IS NOT NULL
            ) i USING (space_no)
            GROUP BY s.space_no";
        for row in self.pools.app.system().query(sql, &[]).await? {
            self.spaces.learn(&row)?;
        }
        Ok(())
    }

    /// A space, if anything was ever stored in it.
    pub(super) async fn space(&self, id: &SpaceId) -> Result<Option<Arc<Space>>, DbError> {
        if let Some(space) = self.spaces.get(id) {
            return Ok(Some(space));
        }
        // another replica may have created it
        self.refresh_spaces().await?;
        Ok(self.spaces.get(id))
    }

    /// A space, whose table is created where there is none.
    pub(super) async fn space_or_create(&self, id: &SpaceId) -> Result<Arc<Space>, DbError> {
        if let Some(space) = self.space(id).await? {
            return Ok(space);
        }
        let sql = "SELECT space_no, space_id, element, '{}'::timestamptz[], '{}'::uuid[], '{}'::text[], '{}'::int4[]
            FROM create_space($1, $2, $3, $4)";
        let dimensions = i32::try_from(id.dimensions()).unwrap_or(i32::MAX);
        let element = self.settings.element.as_str();
        let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 4] =
            [&id.as_str(), &dimensions, &element, &self.clock.now()];
        let rows = self.pools.owner.system().execute_returning(sql, &parameters).await?;
        let space = self.spaces.learn(rows.first().ok_or(DbError::RowCount(0))?)?;
        tracing::info!(space = %id, table = %space.table(), "space is ready");
        Ok(space)
    }

    /// The spaces that hold rows of a tenant. One with nothing but copies of a migration holds none: they are rows of another space.
    pub(super) async fn spaces_of(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
    ) -> Result<Vec<Arc<Space>>, DbError> {
        self.spaces_with(reads, owner, "k.migration_id IS NULL").await
    }

    /// The same with those that hold nothing but copies.
    pub(super) async fn spaces_with_keys_of(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
    ) -> Result<Vec<Arc<Space>>, DbError> {
        self.spaces_with(reads, owner, "true").await
    }

    async fn spaces_with(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        key: &str,
    ) -> Result<Vec<Arc<Space>>, DbError> {
        let sql = format!(
            "SELECT s.space_no FROM spaces s, LATERAL (SELECT FROM embedding_keys k
            WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.space_no = s.space_no AND {key} LIMIT 1) AS held"
        );
        let rows = reads.tenant(owner.tenant).query(&sql, &[&owner.tenant, &owner.shard]).await?;
        let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>()?;
        self.spaces_numbered(&numbers).await
    }

    pub(super) async fn spaces_numbered(&self, numbers: &[i32]) -> Result<Vec<Arc<Space>>, DbError> {
        let known = self.spaces.numbered(numbers);
        if known.len() == numbers.len() {
            return Ok(known);
        }
        self.refresh_spaces().await?;
        Ok(self.spaces.numbered(numbers))
    }
}
