//! Whether a search has more candidates than should all be read.

use std::time::{Duration, Instant};

use embermesh_postgres::{DbError, Reader};
use embermesh_types::AgentId;
use moka::{Expiry, sync::Cache};

use crate::{
    domain::filter::Filter,
    store::{Owner, Store, conditions::Conditions, spaces::Space},
};

/// What was counted, for a tenant or agent in a space: not every search has to count. Who is believed too small is soon counted
/// again, because to read all rows of one that grows is slow; who is believed too large is only searched the other way.
pub(in crate::store) struct Sizes(Cache<(uuid::Uuid, i32, Option<AgentId>), Size>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

struct Trusted;

impl<K> Expiry<K, Size> for Trusted {
    fn expire_after_create(&self, _: &K, size: &Size, _: Instant) -> Option<Duration> {
        Some(Duration::from_secs(match size {
            Size::Small => 5,
            Size::Large => 60,
        }))
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100_000).expire_after(Trusted).build())
    }
}

impl Store {
    /// Whether more rows match than `exact_max_rows`, as far as the tenant's indexes tell.
    pub(super) async fn has_many_candidates(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        filter: &Filter,
    ) -> Result<bool, DbError> {
        let timeless = filter.after.is_none() && filter.before.is_none();
        let key = (owner.tenant, space.no, filter.agent.clone());
        if timeless && let Some(size) = self.sizes.0.get(&key) {
            return Ok(size == Size::Large);
        }
        let _timer = self.metrics.query("count_candidates");
        let mut conditions = Conditions::indexed(owner, filter);
        let bound = i64::from(self.settings.exact_max_rows) + 1;
        let limit = conditions.parameter(bound);
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {limit}) AS candidates",
            space.table(),
            conditions.sql()
        );
        let session = reads.tenant(owner.tenant);
        let rows = self.slow.query("count_candidates", &session, &sql, &conditions.parameters()).await?;
        let row = rows.first().ok_or(DbError::RowCount(0))?;
        let size = if row.try_get::<_, i64>(0)? >= bound { Size::Large } else { Size::Small };
        if timeless {
            self.sizes.0.insert(key, size);
        }
        Ok(size == Size::Large)
    }
}
