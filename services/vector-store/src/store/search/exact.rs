//! Reading every candidate.

use embermesh_postgres::{DbError, Reader};
use embermesh_proto::internal::v1::StoreHit;

use super::{Search, hits};
use crate::store::{
    Owner, Store, conditions::Conditions, row::COLUMNS, spaces::Space, vector_column::Outgoing,
};

impl Store {
    pub(super) async fn search_exactly(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        search: &Search,
        query: &[f32],
    ) -> Result<Vec<StoreHit>, DbError> {
        let _timer = self.metrics.query("search_exact");
        let mut conditions = Conditions::of(owner, &search.filter);
        let limit = conditions.parameter(i64::from(search.limit));
        // last, because it is borrowed
        let distance = distance(space, conditions.parameters().len() + 1);
        let nearest = nearest_of(space, &distance, conditions.sql(), &limit);
        let outgoing = Outgoing(query);
        let mut parameters = conditions.parameters();
        parameters.push(&outgoing);
        let sql = format!("{nearest} ORDER BY distance, v.embedding_id");
        hits(space, &self.slow.query("search_exact", &reads.tenant(owner.tenant), &sql, &parameters).await?)
    }
}

/// The distance of a row to the query, which is this parameter.
pub(super) fn distance(space: &Space, place: usize) -> String {
    format!("embedding <=> ${place}::{}", space.element.sql_type())
}

/// The nearest of all rows that match, in no order. Narrow rows are sorted, then the few that remain are read whole. No index orders by
/// a sum.
pub(super) fn nearest_of(space: &Space, distance: &str, matching: &str, limit: &str) -> String {
    let table = space.table();
    format!(
        "SELECT n.distance, {COLUMNS}, NULL::vector AS embedding FROM (
            SELECT created_at, embedding_id, ({distance}) + 0 AS distance FROM {table}
            WHERE {matching} ORDER BY distance, embedding_id LIMIT {limit}
        ) n JOIN {table} v USING (created_at, embedding_id)
        WHERE v.tenant_id = $1 AND v.shard_key = $2"
    )
}
