//! The rows nearest to a vector, or best by vector and words.
//!
//! Few candidates are all read, through the tenant's btree: nothing is missed, and no other tenant's rows influence the answer. Only
//! where months have an index and the candidates are many are the indexes asked; a month whose index yields fewer rows than wanted is
//! read whole after all.

mod approximate;
mod exact;
mod hybrid;
mod size;
mod words;

use std::time::Instant;

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Reader, Row};
use embermesh_proto::internal::v1::StoreHit;
use embermesh_types::{Consistency, SpaceId, TenantId};

use super::{Owner, Store, row, spaces::Space};
use crate::{
    domain::{filter::Filter, truncation, vector},
    error::of_database,
};

pub(super) use approximate::Plans;
pub(super) use size::Sizes;

/// A checked search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) space: SpaceId,
    pub(crate) query: Vec<f32>,
    pub(crate) filter: Filter,
    pub(crate) limit: u32,
    pub(crate) min_similarity: Option<f64>,
    pub(crate) exact: bool,
    /// Whose words are looked for too.
    pub(crate) text: Option<String>,
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) hits: Vec<StoreHit>,
    pub(crate) scan: &'static str,
    pub(crate) truncated: String,
    /// Other spaces that hold rows of the same filter.
    pub(crate) other_spaces: Vec<String>,
}

/// How rows were found, as callers and metrics name it.
const EXACT: &str = "exact";

impl Store {
    /// The best rows, best first; equal ones in the order of their ids.
    pub(crate) async fn search(
        &self,
        tenant: TenantId,
        consistency: Consistency,
        search: &Search,
    ) -> Result<Found, Error> {
        let owner = Owner::of(tenant);
        let reads = &self.pools.reads.reader(consistency).await;
        let begun = Instant::now();
        let nearest = async {
            let outcome = match &search.text {
                // seldom, and large
                Some(text) => Box::pin(self.fused(reads, owner, search, text)).await,
                None => self.nearest(reads, owner, search).await,
            };
            if let Ok((_, scan)) = &outcome {
                self.metrics.searched(scan, begun.elapsed().as_secs_f64());
            }
            outcome
        };
        let others = self.other_spaces(reads, owner, &search.space, &search.filter);
        let (nearest, others) = tokio::try_join!(nearest, others).map_err(of_database)?;
        let (mut hits, scan) = nearest;
        let found = hits.len();
        if let Some(least) = search.min_similarity {
            hits.retain(|hit| hit.similarity >= least);
        }
        let kept = hits.len();
        hits.truncate(search.limit as usize);
        let truncated = truncation::reason(search.limit as usize, found, kept, search.min_similarity);
        Ok(Found { hits, scan, truncated, other_spaces: others })
    }

    async fn nearest(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        search: &Search,
    ) -> Result<(Vec<StoreHit>, &'static str), DbError> {
        let Some(space) = self.space(&search.space).await? else { return Ok((Vec::new(), EXACT)) };
        // the same angle whatever the length, and half precision keeps it
        let query = vector::normalised(&search.query);
        let indexed = space.indexed_within(owner, &search.filter);
        if let Some(kind) = indexed.first().map(|index| index.kind)
            && !search.exact
            && search.filter.ids.is_empty()
            && self.has_many_candidates(reads, owner, &space, &search.filter).await?
        {
            let found = self.search_indexes(reads, owner, &space, &indexed, search, &query).await?;
            if let Some(hits) = found {
                return Ok((hits, kind.as_str()));
            }
        }
        Ok((self.search_exactly(reads, owner, &space, search, &query).await?, EXACT))
    }
}

/// Reads `distance` and the columns of a row.
fn hits<'r>(space: &Space, rows: impl IntoIterator<Item = &'r Row>) -> Result<Vec<StoreHit>, DbError> {
    rows.into_iter()
        .map(|found| {
            let distance: f64 = found.try_get(0)?;
            let similarity = 1.0 - distance;
            Ok(StoreHit { similarity, score: similarity, row: Some(row::read(space, found, 1)?) })
        })
        .collect()
}
