//! Rows that hold words of a query, best first.
//!
//! A row for which the whole query holds stands before one that holds some of its words. Then counts how rare the held words are
//! among the rows that hold any: PostgreSQL's own ranks know only one row, so that a common word would count as much as a rare one. Rows
//! that hold less than half of what the best one does are left out: fused, two poor places outdo a first one.

use embermesh_postgres::{DbError, Reader};
use embermesh_proto::internal::v1::StoreHit;

use super::{Search, exact::distance, hits};
use crate::{
    domain::filter::Filter,
    store::{
        Owner, Store, conditions::Conditions, row::COLUMNS, spaces::Space, vector_column::Outgoing,
        words::WordQuery,
    },
};

impl Store {
    /// At most `depth` rows, with their similarity to the query's vector.
    pub(super) async fn search_words(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        search: &Search,
        (words, query): (&WordQuery, &[f32]),
        depth: u32,
    ) -> Result<Vec<StoreHit>, DbError> {
        let filter = &search.filter;
        // a tenant with few rows has them all read: no other tenant's rows have a part in how long that takes
        let through_index = filter.ids.is_empty()
            && filter.metadata.is_none()
            && self.has_many_candidates(reads, owner, space, filter).await?;
        let query_name = if through_index { "search_words_index" } else { "search_words" };
        let _timer = self.metrics.query(query_name);
        let (mut conditions, rows) = if through_index {
            self.rows_through_index(owner, space, filter, words)
        } else {
            self.rows_of_tenant(owner, space, filter, words)
        };
        let (any, whole, each) = (
            conditions.parameter(words.any.clone()),
            conditions.parameter(words.whole.clone()),
            conditions.parameter(words.words.clone()),
        );
        let limit = conditions.parameter(i64::from(depth));
        // last, because it is borrowed
        let (table, distance) = (space.table(), distance(space, conditions.parameters().len() + 1));
        // what cannot be told apart must be equal: the sum of the same logarithms in another order is not, nor is half of what was rounded
        let sql = format!(
            "WITH matched AS MATERIALIZED (
                SELECT created_at, embedding_id, lexemes @@ {whole}::text::tsquery AS whole,
                    ts_rank(lexemes, {any}::text::tsquery) AS density,
                    (SELECT bit_or(1::bigint << (n - 1)::integer)
                        FROM unnest({each}::text[]::tsquery[]) WITH ORDINALITY AS word(word, n) WHERE lexemes @@ word) AS held
                FROM ({rows} OFFSET 0) AS rows
            ), sets AS (
                SELECT held, count(*) AS rows FROM matched GROUP BY held
            ), words AS (
                SELECT n, sum(rows)::float8 AS rows FROM sets, generate_series(0, 62) AS n WHERE held >> n & 1 = 1 GROUP BY n
            ), weights AS (
                SELECT held, round(sum(ln(1 + ((SELECT sum(rows) FROM sets)::float8 - words.rows + 0.5) / (words.rows + 0.5)))::numeric, 9)
                    AS weight
                FROM sets JOIN words ON held >> n & 1 = 1 GROUP BY held
            ), best AS (
                SELECT created_at, embedding_id, whole, weight, density FROM matched JOIN weights USING (held)
                WHERE whole OR weight + 0.000001 >= (SELECT max(weight) FROM weights) / 2
                ORDER BY whole DESC, weight DESC, density DESC, embedding_id LIMIT {limit}
            )
            SELECT ({distance}) + 0 AS distance, {COLUMNS}, NULL::vector AS embedding
            FROM best JOIN {table} v USING (created_at, embedding_id)
            WHERE v.tenant_id = $1 AND v.shard_key = $2
            ORDER BY whole DESC, weight DESC, density DESC, embedding_id"
        );
        let outgoing = Outgoing(query);
        let mut parameters = conditions.parameters();
        parameters.push(&outgoing);
        hits(space, &self.slow.query(query_name, &reads.tenant(owner.tenant), &sql, &parameters).await?)
    }

    /// The rows that hold any of the words, out of all that the filter lets through.
    fn rows_of_tenant(
        &self,
        owner: Owner,
        space: &Space,
        filter: &Filter,
        words: &WordQuery,
    ) -> (Conditions, String) {
        let mut conditions = Conditions::of(owner, filter);
        let any = conditions.parameter(words.any.clone());
        let (table, of_row, matching) = (space.table(), &self.words.of_row, conditions.sql());
        let rows = format!(
            "SELECT created_at, embedding_id, {of_row} AS lexemes FROM {table} WHERE {matching} AND {of_row} @@ {any}::text::tsquery"
        );
        (conditions, rows)
    }

    /// The same through the months' indexes, where there are some.
    fn rows_through_index(
        &self,
        owner: Owner,
        space: &Space,
        filter: &Filter,
        words: &WordQuery,
    ) -> (Conditions, String) {
        let mut conditions = Conditions::indexed(owner, &Filter::default());
        let (no, language) = (space.no, &self.words.language);
        let any = conditions.parameter(words.any.clone());
        let agent = conditions.parameter(filter.agent.as_ref().map(|agent| agent.as_str().to_owned()));
        let context = conditions.parameter(filter.context.clone());
        let (after, before) = (conditions.parameter(filter.after), conditions.parameter(filter.before));
        let rows = format!(
            "SELECT * FROM rows_with_words({no}, '{language}', {any}::text::tsquery, $2, {agent}, {context}, {after}, {before})"
        );
        (conditions, rows)
    }
}
