//! Asking the indexes of months.
//!
//! Each indexed month is an arm of its own, with its own order and limit: asked for together, PostgreSQL would merge all partitions
//! and begin a whole walk of the graph in each for the first row. Whatever lies outside of these months is one more arm, read exactly; it
//! names the times it leaves out instead of the partitions it reads, so a month that another replica has just made is not missed.

use std::fmt::Write as _;

use embermesh_postgres::{DbError, ReadSession, Reader};
use embermesh_proto::internal::v1::StoreHit;

use super::{
    Search,
    exact::{distance, nearest_of},
    hits,
};
use crate::{
    domain::index::{Index, IndexKind, Instant},
    store::{Owner, Store, conditions::Conditions, row::COLUMNS, spaces::Space, vector_column::Outgoing},
};

/// Limits that statements are made for, so that there are few statements; more is fetched than wanted, and left out.
const LIMITS: [u32; 7] = [10, 20, 50, 100, 200, 500, 1_000];

impl Store {
    pub(super) async fn search_indexes(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        indexed: &[Index],
        search: &Search,
        query: &[f32],
    ) -> Result<Vec<StoreHit>, DbError> {
        let _timer = self.metrics.query("search_index");
        let conditions = Conditions::of(owner, &search.filter);
        let (table, matching) = (space.table(), conditions.sql());
        let limit = LIMITS.into_iter().find(|limit| *limit >= search.limit).unwrap_or(search.limit);
        let distance = distance(space, conditions.parameters().len() + 1);
        let (mut sql, mut outside) = ("SELECT * FROM (".to_owned(), String::new());
        for index in indexed {
            let (from, until, rows) = (Instant(index.from), Instant(index.until), &index.rows);
            // writing to a string cannot fail
            let _ = write!(
                sql,
                "(SELECT {distance} AS distance, {COLUMNS}, NULL::vector AS embedding FROM {table}
                WHERE {matching}{rows} AND created_at >= {from} AND created_at < {until}
                ORDER BY {distance} LIMIT {limit}) UNION ALL "
            );
            let _ = write!(outside, " AND (created_at < {from} OR created_at >= {until})");
        }
        let rest = nearest_of(space, &distance, &format!("{matching}{outside}"), &limit.to_string());
        let _ = write!(sql, "({rest})) AS arms ORDER BY distance, embedding_id LIMIT {limit}");
        let outgoing = Outgoing(query);
        let mut parameters = conditions.parameters();
        parameters.push(&outgoing);
        let session = self.asking_indexes(reads, owner, indexed, limit);
        let rows = self.slow.query("search_index", &session, &sql, &parameters).await?;
        let mut hits = hits(space, &rows)?;
        hits.truncate(search.limit as usize);
        Ok(hits)
    }

    fn asking_indexes<'r>(
        &self,
        reads: &'r Reader<'_>,
        owner: Owner,
        indexed: &[Index],
        limit: u32,
    ) -> ReadSession<'r> {
        let (hnsw, ivfflat) = (&self.settings.hnsw, &self.settings.ivfflat);
        let mut session = reads.tenant(owner.tenant);
        let measured = indexed.iter().filter_map(|index| index.ef_search).max().unwrap_or_default();
        let looked_at = u32::from(hnsw.ef_search.max(measured));
        if indexed.iter().any(|index| index.kind == IndexKind::Hnsw) {
            session = session
                .with("hnsw.ef_search", looked_at.max(limit).min(1000))
                .with("hnsw.iterative_scan", "relaxed_order")
                .with("hnsw.max_scan_tuples", hnsw.max_scan_tuples);
        }
        if indexed.iter().any(|index| index.kind == IndexKind::Ivfflat) {
            session = session
                .with("ivfflat.probes", ivfflat.probes)
                .with("ivfflat.iterative_scan", "relaxed_order")
                .with("ivfflat.max_probes", ivfflat.max_probes.max(ivfflat.probes));
        }
        // one plan for all vectors and tenants, made once for a connection; whatever the planner thinks of the tenant's share, it is
        // the vector's index that is to be read
        session
            .with("plan_cache_mode", "force_generic_plan")
            .with("enable_seqscan", "off")
            .with("enable_bitmapscan", "off")
            .with("enable_sort", "off")
    }
}
