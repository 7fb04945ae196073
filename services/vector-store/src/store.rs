//! The rows in PostgreSQL. All SQL of the service is in this module.

mod answers;
mod conditions;
mod delete;
mod indexes;
mod list;
mod other_spaces;
mod partitions;
mod pools;
mod put;
mod read;
mod row;
mod search;
mod spaces;
mod vector_column;

use std::{sync::Arc, time::Duration};

use embermesh_postgres::Session;
use embermesh_types::{Clock, TenantId};

use crate::{Settings, domain::shard, metrics::StoreMetrics};

pub(crate) use answers::Standing;
pub(crate) use pools::{MIGRATIONS, Pools};
pub(crate) use put::Kept;
pub(crate) use search::Search;

/// The rows of all spaces.
pub(crate) struct Store {
    pools: Pools,
    spaces: spaces::Spaces,
    large: search::LargeTenants,
    /// One at a time; between processes PostgreSQL sees to that.
    index_build: tokio::sync::Mutex<()>,
    settings: Settings,
    clock: Clock,
    metrics: StoreMetrics,
}

/// Whose rows a statement is about; the first two parameters of all of them.
#[derive(Debug, Clone, Copy)]
struct Owner {
    tenant: uuid::Uuid,
    shard: shard::ShardKey,
}

impl Owner {
    fn of(tenant: TenantId) -> Self {
        Self { tenant: tenant.uuid(), shard: shard::of(tenant) }
    }
}

impl Store {
    pub(crate) fn new(pools: Pools, settings: Settings, clock: Clock, metrics: StoreMetrics) -> Arc<Self> {
        let (spaces, large) = (spaces::Spaces::default(), search::large_tenants());
        Arc::new(Self {
            pools,
            spaces,
            large,
            index_build: tokio::sync::Mutex::default(),
            settings,
            clock,
            metrics,
        })
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    pub(crate) fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    fn session(&self, owner: Owner) -> Session<'_> {
        self.pools.app.tenant(owner.tenant)
    }

    /// Idempotency keys of this instant and before are forgotten.
    fn request_expiry(&self) -> std::time::SystemTime {
        self.clock.now() - Duration::from_secs(u64::from(self.settings.request_hours) * 3600)
    }
}
