//! By vectors and by words at once.

use embermesh_postgres::{DbError, Reader};
use embermesh_proto::internal::v1::StoreHit;

use super::{EXACT, Search};
use crate::{
    domain::{hybrid, vector},
    store::{Owner, Store},
};

impl Store {
    /// The rows of both rankings, best first; more than are wanted, or all there are.
    pub(super) async fn fused(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        search: &Search,
        text: &str,
    ) -> Result<(Vec<StoreHit>, &'static str), DbError> {
        let Some(words) = self.word_query(text).await? else {
            return self.nearest(reads, owner, search).await;
        };
        let Some(space) = self.space(&search.space).await? else { return Ok((Vec::new(), EXACT)) };
        let depth = hybrid::depth(search.limit);
        let deeper = Search { limit: depth, ..search.clone() };
        let query = vector::normalised(&search.query);
        let by_words = self.search_words(reads, owner, &space, search, (&words, &query), depth);
        let ((by_vectors, scan), by_words) = tokio::try_join!(self.nearest(reads, owner, &deeper), by_words)?;
        let id = |hit: &StoreHit| hit.row.as_ref().map(|row| row.embedding_id.clone()).unwrap_or_default();
        let ranked = hybrid::ranked(by_vectors, by_words, id).into_iter();
        let hits = ranked.map(|one| StoreHit { score: one.score, ..one.item }).collect();
        let scan = match scan {
            "hnsw" => "hnsw+words",
            "ivfflat" => "ivfflat+words",
            _ => "exact+words",
        };
        Ok((hits, scan))
    }
}
