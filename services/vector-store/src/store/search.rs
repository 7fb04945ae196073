//! The rows nearest to a vector.
//!
//! Few candidates are all read, through the tenant's btree: nothing is missed, and no other tenant's rows influence the answer. Only
//! where there is an index and the candidates are many is the index asked; when it yields fewer rows than wanted, all candidates
//! are read after all.

use std::time::{Duration, Instant};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Session};
use embermesh_proto::internal::v1::StoreHit;
use embermesh_types::{AgentId, SpaceId, TenantId};
use moka::sync::Cache;

use super::{
    Owner, Store,
    conditions::Conditions,
    row::{self, COLUMNS},
    spaces::Space,
    vector_column::Outgoing,
};
use crate::{
    domain::{filter::Filter, truncation, vector},
    error::of_database,
};

/// A checked search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) space: SpaceId,
    pub(crate) query: Vec<f32>,
    pub(crate) filter: Filter,
    pub(crate) limit: u32,
    pub(crate) min_similarity: Option<f64>,
    pub(crate) exact: bool,
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) hits: Vec<StoreHit>,
    pub(crate) scan: &'static str,
    pub(crate) truncated: String,
    /// Other spaces that hold rows of the same filter.
    pub(crate) other_spaces: Vec<String>,
}

/// Tenants, agents and spaces that have more rows than an exact search should read. Remembered for a minute, so that not every
/// search has to count; a tenant that has shrunk since is only searched the other way.
pub(super) type LargeTenants = Cache<(uuid::Uuid, i32, Option<AgentId>), ()>;

pub(super) fn large_tenants() -> LargeTenants {
    Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(60)).build()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scan {
    Exact,
    Hnsw,
}

impl Scan {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Hnsw => "hnsw",
        }
    }
}

impl Store {
    /// The nearest rows, nearest first; equal ones in the order of their ids.
    pub(crate) async fn search(&self, tenant: TenantId, search: &Search) -> Result<Found, Error> {
        let owner = Owner::of(tenant);
        let begun = Instant::now();
        let nearest = async {
            let outcome = self.nearest(owner, search).await;
            if let Ok((_, scan)) = &outcome {
                self.metrics.searched(scan.as_str(), begun.elapsed().as_secs_f64());
            }
            outcome
        };
        let others = self.other_spaces(owner, &search.space, &search.filter);
        let (nearest, others) = tokio::try_join!(nearest, others).map_err(of_database)?;
        let (mut hits, scan) = nearest;
        let found = hits.len();
        if let Some(least) = search.min_similarity {
            hits.retain(|hit| hit.similarity >= least);
        }
        let truncated = truncation::reason(search.limit as usize, found, hits.len(), search.min_similarity);
        Ok(Found { hits, scan: scan.as_str(), truncated, other_spaces: others })
    }

    async fn nearest(&self, owner: Owner, search: &Search) -> Result<(Vec<StoreHit>, Scan), DbError> {
        let Some(space) = self.space(&search.space).await? else { return Ok((Vec::new(), Scan::Exact)) };
        // the same angle whatever the length, and half precision keeps it
        let query = vector::normalised(&search.query);
        if self.deserves_index(owner, &space, search).await? {
            let hits = self.scan(Scan::Hnsw, owner, &space, search, &query).await?;
            if hits.len() >= search.limit as usize {
                return Ok((hits, Scan::Hnsw));
            }
        }
        Ok((self.scan(Scan::Exact, owner, &space, search, &query).await?, Scan::Exact))
    }

    /// Whether there is an index, and more candidates than should all be read.
    async fn deserves_index(&self, owner: Owner, space: &Space, search: &Search) -> Result<bool, DbError> {
        let filter = &search.filter;
        if search.exact || !space.is_indexed() || !filter.ids.is_empty() {
            return Ok(false);
        }
        let timeless = filter.after.is_none() && filter.before.is_none();
        let key = (owner.tenant, space.no, filter.agent.clone());
        if timeless && self.large.contains_key(&key) {
            return Ok(true);
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
        let row = self.session(owner).query_one(&sql, &conditions.parameters()).await?;
        let large = row.try_get::<_, i64>(0)? >= bound;
        if large && timeless {
            self.large.insert(key, ());
        }
        Ok(large)
    }

    async fn scan(
        &self,
        scan: Scan,
        owner: Owner,
        space: &Space,
        search: &Search,
        query: &[f32],
    ) -> Result<Vec<StoreHit>, DbError> {
        let mut conditions = Conditions::of(owner, &search.filter);
        let limit = conditions.parameter(i64::from(search.limit));
        // last, because it is borrowed
        let place = conditions.parameters().len() + 1;
        let distance = format!("embedding <=> ${place}::{}", space.element.sql_type());
        let (distance, order) = match scan {
            // no index orders by a sum
            Scan::Exact => (format!("({distance}) + 0"), "distance, embedding_id".to_owned()),
            Scan::Hnsw => (distance.clone(), distance),
        };
        // narrow rows are sorted, then the few that remain are read whole; a relaxed index scan needs the second sort, which the
        // planner would leave out if it believed the index
        let sql = format!(
            "WITH nearest AS MATERIALIZED (
                SELECT created_at, embedding_id, {distance} AS distance FROM {table}
                WHERE {matching} ORDER BY {order} LIMIT {limit}
            )
            SELECT n.distance, {COLUMNS}, NULL::vector AS embedding
            FROM nearest n JOIN {table} v USING (created_at, embedding_id)
            WHERE v.tenant_id = $1 AND v.shard_key = $2
            ORDER BY n.distance + 0, embedding_id",
            table = space.table(),
            matching = conditions.sql(),
        );
        let outgoing = Outgoing(query);
        let mut parameters = conditions.parameters();
        parameters.push(&outgoing);
        let rows = {
            let _timer = self.metrics.query(match scan {
                Scan::Exact => "search_exact",
                Scan::Hnsw => "search_hnsw",
            });
            self.session_for(scan, owner, search.limit).query(&sql, &parameters).await?
        };
        rows.iter()
            .map(|found| {
                let distance: f64 = found.try_get(0)?;
                Ok(StoreHit { similarity: 1.0 - distance, row: Some(row::read(space, found, 1)?) })
            })
            .collect()
    }

    fn session_for(&self, scan: Scan, owner: Owner, limit: u32) -> Session<'_> {
        let session = self.session(owner);
        match scan {
            Scan::Exact => session,
            Scan::Hnsw => session
                .with("hnsw.ef_search", u32::from(self.settings.hnsw.ef_search).max(limit).min(1000))
                .with("hnsw.iterative_scan", "relaxed_order")
                .with("hnsw.max_scan_tuples", self.settings.hnsw.max_scan_tuples)
                // a plan for any limit would expect a tenth of all rows, and prefer to sort them
                .with("plan_cache_mode", "force_custom_plan")
                .with("enable_seqscan", "off")
                .with("enable_bitmapscan", "off"),
        }
    }
}
