//! The rows in PostgreSQL. All SQL of the service is in this module.

mod answers;
mod archive;
mod comparison;
mod conditions;
mod delete;
mod footprint;
mod indexes;
mod jobs;
mod list;
pub(crate) mod migrations;
mod only_one;
mod other_spaces;
mod partitions;
mod pools;
mod promotion;
mod put;
mod read;
mod recall;
mod row;
mod row_uses;
mod search;
mod spaces;
mod tidy;
mod vector_column;
mod warm_rows;
mod word_indexes;
mod words;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_postgres::Session;
use embermesh_types::{Clock, TenantId};

use crate::{Archive, Settings, domain::shard, metrics::StoreMetrics, slow::SlowQueries};

pub(crate) use answers::Standing;
pub(crate) use archive::Leaving;
pub use comparison::{Compared, Contents, contents, same_answers};
pub(crate) use footprint::{Scans, Table};
pub(crate) use pools::{MIGRATIONS, Pools};
pub(crate) use put::Kept;
pub(crate) use row_uses::RowUses;
pub(crate) use search::Search;
pub(crate) use warm_rows::Shelf;
pub(crate) use words::Words;

/// The rows of all spaces.
pub(crate) struct Store {
    pools: Pools,
    spaces: spaces::Spaces,
    spaces_of: other_spaces::SpacesOf,
    sizes: search::Sizes,
    plans: search::Plans,
    builds: indexes::Builds,
    words: Words,
    slow: SlowQueries,
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
    pub(crate) fn new(
        pools: Pools,
        words: Words,
        slow: SlowQueries,
        settings: Settings,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            pools,
            spaces: spaces::Spaces::default(),
            spaces_of: other_spaces::SpacesOf::default(),
            sizes: search::Sizes::default(),
            plans: search::Plans::default(),
            builds: indexes::Builds::default(),
            words,
            slow,
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

    pub(crate) fn archive_settings(&self) -> &Archive {
        &self.settings.archive
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn session(&self, owner: Owner) -> Session<'_> {
        self.pools.app.tenant(owner.tenant)
    }

    /// Idempotency keys of this instant and before are forgotten.
    fn request_expiry(&self) -> SystemTime {
        self.clock.now() - Duration::from_secs(u64::from(self.settings.request_hours) * 3600)
    }
}
