//! Asking the indexes of months.
//!
//! Each indexed month is an arm of its own, with its own order and limit: asked for together, PostgreSQL would merge all partitions
//! and begin a whole walk of the graph in each for the first row. Whatever lies outside of these months is one more arm, read exactly; it
//! names the times it leaves out instead of the partitions it reads, so a month that another replica has just made is not missed.
//!
//! An index first yields as many candidates as a search looks at. Where the filter leaves enough of them, that is the answer; else it is
//! asked again, and goes on until there are enough. A month whose index ends before that is read exactly with all the rest, however
//! many rows the other months have: what it did not reach may be nearer than they are.
//!
//! A scan that may have to go on keeps all that it passes by, a sixth of what the whole search takes, so where the first candidates are
//! known to be too few they are not tried. Nor are the other months made ready for reading as long as a look has found them empty: that
//! takes a twentieth.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use embermesh_postgres::{DbError, ReadSession, Reader, Row};
use embermesh_proto::internal::v1::StoreHit;
use embermesh_types::AgentId;
use moka::sync::Cache;

use super::{
    Search,
    exact::{distance, nearest_of},
    hits,
};
use crate::{
    domain::{
        filter::Filter,
        index::{Index, IndexKind, Instant},
    },
    store::{
        Owner, Store,
        conditions::Conditions,
        row::{COLUMNS, NO_COLUMNS},
        spaces::Space,
        vector_column::Outgoing,
    },
};

/// Limits that statements are made for, so that there are few statements; more is fetched than wanted, and left out.
const LIMITS: [u32; 7] = [10, 20, 50, 100, 200, 500, 1_000];

/// Rows that one statement may fetch for the process to choose from. Where there are more, PostgreSQL chooses.
const CHOSEN_FROM: usize = 500;
/// The arm of what lies outside of the indexed months.
const OUTSIDE: i32 = -1;

/// How a search goes through indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The first candidates of each month, and a look whether there is anything else.
    First,
    /// The first candidates of each month, and the best of everything else.
    FirstAndOutside,
    /// On through each month until there are enough rows, or as far as the settings let it; and the best of everything else.
    UntilEnough,
}

/// How a search is made, and of which months, by their first instants, the index is not asked because it ended too early.
#[derive(Debug, Clone)]
struct Plan {
    way: Way,
    short: Vec<SystemTime>,
}

/// What the plan was lately that led to an answer: for a tenant, or its agent, in a space, when that many rows were wanted.
pub(in crate::store) struct Plans(Cache<(uuid::Uuid, i32, Option<AgentId>, u32), Plan>);

impl Default for Plans {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(60)).build())
    }
}

impl Store {
    /// The rows nearest to the query; `None` where no index leads to as many as are wanted.
    pub(super) async fn search_indexes(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        indexed: &[Index],
        search: &Search,
        query: &[f32],
    ) -> Result<Option<Vec<StoreHit>>, DbError> {
        let _timer = self.metrics.query("search_index");
        let limit = LIMITS.into_iter().find(|limit| *limit >= search.limit).unwrap_or(search.limit);
        let wanted = search.limit as usize;
        let Filter { agent, context, ids: _, metadata, after, before, space: _ } = &search.filter;
        // of whatever else is asked for nobody knows how rare it is
        let is_plain = context.is_none() && metadata.is_none() && after.is_none() && before.is_none();
        let remembered = (is_plain && indexed.len() * limit as usize <= CHOSEN_FROM)
            .then(|| (owner.tenant, space.no, agent.clone(), limit));
        let known = remembered.as_ref().and_then(|who| self.plans.0.get(who));
        let first = if remembered.is_some() { Way::First } else { Way::UntilEnough };
        let mut plan = known.unwrap_or(Plan { way: first, short: Vec::new() });
        loop {
            let asked: Vec<&Index> =
                indexed.iter().filter(|index| !plan.short.contains(&index.from)).collect();
            if asked.is_empty() {
                return Ok(None);
            }
            let arms = Arms::of(owner, space, &asked, &search.filter, limit);
            let session = self.asking_indexes(reads, owner, &asked, (limit, plan.way));
            let rows = self.ask(&session, &arms.sql(plan.way), &arms.conditions, query).await?;
            if plan.way == Way::UntilEnough {
                let short = short(&rows, &asked, limit)?;
                if short.is_empty() {
                    return Ok(Some(hits(space, rows.iter().take(wanted))?));
                }
                plan.short.extend(short);
                plan.way = if remembered.is_some() { Way::FirstAndOutside } else { Way::UntilEnough };
            } else {
                plan.way = match best(&rows, asked.len(), limit, plan.way)? {
                    Ok(best) => return Ok(Some(hits(space, best.into_iter().take(wanted))?)),
                    Err(better) => better,
                };
            }
            if let Some(who) = &remembered {
                self.plans.0.insert(who.clone(), plan.clone());
            }
        }
    }

    async fn ask(
        &self,
        session: &ReadSession<'_>,
        sql: &str,
        conditions: &Conditions,
        query: &[f32],
    ) -> Result<Vec<Row>, DbError> {
        let outgoing = Outgoing(query);
        let mut parameters = conditions.parameters();
        parameters.push(&outgoing);
        self.slow.query("search_index", session, sql, &parameters).await
    }

    fn asking_indexes<'r>(
        &self,
        reads: &'r Reader<'_>,
        owner: Owner,
        indexed: &[&Index],
        (limit, way): (u32, Way),
    ) -> ReadSession<'r> {
        let (hnsw, ivfflat) = (&self.settings.hnsw, &self.settings.ivfflat);
        let mut session = reads.tenant(owner.tenant);
        let measured = indexed.iter().filter_map(|index| index.ef_search).max().unwrap_or_default();
        let looked_at = u32::from(hnsw.ef_search.max(measured));
        if indexed.iter().any(|index| index.kind == IndexKind::Hnsw) {
            session = session.with("hnsw.ef_search", looked_at.max(limit).min(1000));
            if way == Way::UntilEnough {
                session = session
                    .with("hnsw.iterative_scan", "relaxed_order")
                    .with("hnsw.max_scan_tuples", hnsw.max_scan_tuples);
            }
        }
        if indexed.iter().any(|index| index.kind == IndexKind::Ivfflat) {
            session = session.with("ivfflat.probes", ivfflat.probes);
            if way == Way::UntilEnough {
                session = session
                    .with("ivfflat.iterative_scan", "relaxed_order")
                    .with("ivfflat.max_probes", ivfflat.max_probes.max(ivfflat.probes));
            }
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

/// The rows of all arms, best first; or the way to go instead, because a month had too few or there is more outside than was asked for.
fn best(rows: &[Row], months: usize, limit: u32, way: Way) -> Result<Result<Vec<&Row>, Way>, DbError> {
    let mut found = vec![0; months];
    let mut ranked = Vec::with_capacity(rows.len());
    for row in rows {
        let arm: i32 = row.try_get("arm")?;
        match usize::try_from(arm).ok().and_then(|arm| found.get_mut(arm)) {
            Some(found) => *found += 1,
            None if way == Way::First => return Ok(Err(Way::FirstAndOutside)),
            None => {}
        }
        ranked.push((row.try_get::<_, f64>("distance")?, row.try_get::<_, uuid::Uuid>("embedding_id")?, row));
    }
    // of each month: else a nearer row of one that fell short would be missed
    if found.iter().any(|found| *found < limit) {
        return Ok(Err(Way::UntilEnough));
    }
    ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(Ok(ranked.into_iter().map(|(_, _, row)| row).collect()))
}

/// The months whose index ended before it had enough.
fn short(rows: &[Row], asked: &[&Index], limit: u32) -> Result<Vec<SystemTime>, DbError> {
    let found: Vec<i64> = match rows.first() {
        Some(row) => row.try_get("found")?,
        None => Vec::new(),
    };
    let found = found.into_iter().chain(std::iter::repeat(0));
    Ok(asked
        .iter()
        .zip(found)
        .filter(|(_, found)| *found < i64::from(limit))
        .map(|(index, _)| index.from)
        .collect())
}

/// What is asked of each indexed month and of everything else. The query is the parameter behind those of the conditions.
struct Arms {
    months: Vec<String>,
    /// Rows of each arm, and of all together.
    limit: u32,
    outside: String,
    /// One row that says that there is something outside.
    look: String,
    conditions: Conditions,
}

impl Arms {
    fn of(owner: Owner, space: &Space, indexed: &[&Index], filter: &Filter, limit: u32) -> Self {
        let conditions = Conditions::of(owner, filter);
        let (table, matching) = (space.table(), conditions.sql());
        let distance = distance(space, conditions.parameters().len() + 1);
        let (mut months, mut elsewhere) = (Vec::with_capacity(indexed.len()), matching.to_owned());
        for index in indexed {
            let (from, until, rows) = (Instant(index.from), Instant(index.until), &index.rows);
            months.push(format!(
                "SELECT {distance} AS distance, {COLUMNS}, NULL::vector AS embedding FROM {table}
                WHERE {matching}{rows} AND created_at >= {from} AND created_at < {until}
                ORDER BY {distance} LIMIT {limit}"
            ));
            // writing to a string cannot fail
            let _ = write!(elsewhere, " AND (created_at < {from} OR created_at >= {until})");
        }
        let outside = nearest_of(space, &distance, &elsewhere, &limit.to_string());
        let look = format!(
            "SELECT 0::float8, {NO_COLUMNS}, NULL::vector WHERE EXISTS (SELECT FROM {table} WHERE {elsewhere})"
        );
        Self { months, limit, outside, look, conditions }
    }

    fn sql(&self, way: Way) -> String {
        match way {
            Way::First => self.each(&self.look),
            Way::FirstAndOutside => self.each(&self.outside),
            Way::UntilEnough => self.together(),
        }
    }

    /// The rows of every arm, with its number.
    fn each(&self, outside: &str) -> String {
        let months = self.months.iter().enumerate();
        let mut sql: String = months
            .map(|(arm, month)| format!("SELECT *, {arm} AS arm FROM ({month}) AS month UNION ALL "))
            .collect();
        // writing to a string cannot fail
        let _ = write!(sql, "SELECT *, {OUTSIDE} FROM ({outside}) AS outside");
        sql
    }

    /// The best of all arms, and beside each row how many each month had.
    fn together(&self) -> String {
        let (each, last, limit) = (self.each(&self.outside), self.months.len() - 1, self.limit);
        format!(
            "WITH arms AS MATERIALIZED ({each})
            SELECT *, ARRAY(SELECT count(arms.arm) FROM generate_series(0, {last}) AS month(arm) LEFT JOIN arms USING (arm)
                GROUP BY month.arm ORDER BY month.arm) AS found
            FROM arms ORDER BY distance, embedding_id LIMIT {limit}"
        )
    }
}
