//! Which spaces hold rows that a search would have wanted.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Reader};
use embermesh_types::{Consistency, SpaceId, TenantId};
use moka::sync::Cache;

use super::{Owner, Store, conditions::Conditions, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

/// The spaces that hold rows of a tenant. Rows of a new space are noticed at once by the replica that stores them, and within seconds
/// by the others; what is told of other spaces is advice.
pub(super) struct SpacesOf(Cache<uuid::Uuid, Arc<[Arc<Space>]>>);

impl Default for SpacesOf {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(5)).build())
    }
}

impl SpacesOf {
    /// The tenant has just stored rows in a space.
    pub(super) fn stored(&self, owner: Owner, space: &Space) {
        let known = self.0.get(&owner.tenant);
        if known.is_some_and(|spaces| spaces.iter().all(|known| known.no != space.no)) {
            self.0.invalidate(&owner.tenant);
        }
    }
}

impl Store {
    /// The spaces with at least one row of the filter.
    pub(crate) async fn find_spaces(
        &self,
        tenant: TenantId,
        consistency: Consistency,
        filter: &Filter,
    ) -> Result<Vec<String>, Error> {
        let _timer = self.metrics.query("find_spaces");
        let owner = Owner::of(tenant);
        let reads = &self.pools.reads.reader(consistency).await;
        let found = async {
            let spaces = self.spaces_to_visit(reads, owner, filter).await?;
            self.spaces_with_rows(reads, owner, &spaces, filter).await
        };
        found.await.map_err(of_database)
    }

    /// The spaces, `searched` left out, with at least one row of the filter.
    pub(super) async fn other_spaces(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        searched: &SpaceId,
        filter: &Filter,
    ) -> Result<Vec<String>, DbError> {
        // whoever asks for everything that was written gets no remembered answer
        let known = self.spaces_of.0.get(&owner.tenant).filter(|_| reads.is_eventual());
        let known = match known {
            Some(known) => known,
            None => {
                let known: Arc<[_]> = self.spaces_of(reads, owner).await?.into();
                self.spaces_of.0.insert(owner.tenant, Arc::clone(&known));
                known
            }
        };
        let spaces: Vec<_> = known.iter().filter(|space| space.id != *searched).cloned().collect();
        self.spaces_with_rows(reads, owner, &spaces, filter).await
    }

    /// Those of `spaces` with at least one row of the filter, in the order of their ids.
    async fn spaces_with_rows(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        spaces: &[Arc<Space>],
        filter: &Filter,
    ) -> Result<Vec<String>, DbError> {
        if spaces.is_empty() {
            return Ok(Vec::new());
        }
        let _timer = self.metrics.query("other_spaces");
        let conditions = Conditions::of(owner, filter);
        let mut sql = String::new();
        for (at, space) in spaces.iter().enumerate() {
            let union = if at == 0 { "" } else { " UNION ALL " };
            let (no, table, matching) = (space.no, space.table(), conditions.sql());
            // writing to a string cannot fail
            let _ = write!(sql, "{union}SELECT {no} WHERE EXISTS (SELECT FROM {table} WHERE {matching})");
        }
        let session = reads.tenant(owner.tenant);
        let rows = self.slow.query("other_spaces", &session, &sql, &conditions.parameters()).await?;
        let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>()?;
        let mut others: Vec<String> = spaces
            .iter()
            .filter(|space| numbers.contains(&space.no))
            .map(|space| space.id.to_string())
            .collect();
        others.sort();
        Ok(others)
    }
}
