//! Queries of the search path that took long, in the log with their plans.
//!
//! What is logged is of the statement: no parameter, so no text and no vector. A query counts when it ends in whatever way, also when its
//! caller went away: those are the slowest. Plans are made beside the requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::{Database, DbError, ReadSession, Row, Unexplained, types::ToSql};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Between two lines about queries of one name; those in between are counted.
const REST: Duration = Duration::from_secs(10);
/// Queries that may wait for their plans; further ones are only counted.
const WAITING: usize = 16;

/// Notices slow queries. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SlowQueries {
    threshold: Duration,
    told: Arc<Mutex<HashMap<&'static str, Told>>>,
    lines: Sender<Slow>,
}

/// When queries of a name were last told of, and how many were not since.
#[derive(Debug)]
struct Told {
    at: Instant,
    left_out: u64,
}

/// One that is to be told of.
#[derive(Debug)]
struct Slow {
    query: &'static str,
    took: Duration,
    /// None: it failed or was given up.
    rows: Option<usize>,
    left_out: u64,
    statement: Unexplained,
}

/// A query under way.
struct Running<'a> {
    slow: &'a SlowQueries,
    query: &'static str,
    session: &'a ReadSession<'a>,
    sql: &'a str,
    begun: Instant,
    rows: Option<usize>,
}

impl SlowQueries {
    /// Notices queries from `threshold` on; the other half tells of them.
    pub(crate) fn new(threshold: Duration) -> (Self, Teller) {
        let (lines, waiting) = mpsc::channel(WAITING);
        (Self { threshold, told: Arc::default(), lines }, Teller(waiting))
    }

    /// Runs a query.
    pub(crate) async fn query(
        &self,
        query: &'static str,
        session: &ReadSession<'_>,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let begun = Instant::now();
        let mut running = Running { slow: self, query, session, sql, begun, rows: None };
        let rows = session.query(sql, parameters).await?;
        running.rows = Some(rows.len());
        Ok(rows)
    }

    /// Whether one is told of now: then how many were left out since the last.
    fn is_due(&self, query: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(query) {
            Some(told) if now.duration_since(told.at) < REST => {
                told.left_out += 1;
                None
            }
            last => {
                let left_out = last.map_or(0, |last| last.left_out);
                told.insert(query, Told { at: now, left_out: 0 });
                Some(left_out)
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (now, took) = (Instant::now(), self.begun.elapsed());
        if took < self.slow.threshold {
            return;
        }
        if let Some(left_out) = self.slow.is_due(self.query, now) {
            let statement = self.session.to_explain(self.sql);
            let slow = Slow { query: self.query, took, rows: self.rows, left_out, statement };
            // when plans are slow too, one line less is the least of the troubles
            let _full = self.slow.lines.try_send(slow);
        }
    }
}

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Teller(Receiver<Slow>);

impl Teller {
    /// Writes until the process stops.
    pub(crate) fn start(mut self, database: Database, tasks: &Tasks) {
        let end = tasks.clone();
        tasks.spawn("slow queries", async move {
            loop {
                let slow = tokio::select! {
                    () = end.stopping() => return,
                    Some(slow) = self.0.recv() => slow,
                    else => return,
                };
                let plan = database.explain(&slow.statement).await;
                let plan = plan.unwrap_or_else(|error| format!("none: {error}"));
                let Slow { query, took, rows, left_out, .. } = slow;
                let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let outcome = if rows.is_some() { "done" } else { "failed or given up" };
                tracing::warn!(query, milliseconds, outcome, rows, left_out, plan, "slow query");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_of_a_name_is_told_of_in_a_while_and_the_others_are_counted() {
        let (slow, _teller) = SlowQueries::new(Duration::ZERO);
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(slow.is_due("a", at(0)), Some(0));
        assert_eq!(slow.is_due("b", at(1)), Some(0));
        assert_eq!((slow.is_due("a", at(5)), slow.is_due("a", at(9))), (None, None));
        assert_eq!(slow.is_due("a", at(10)), Some(2));
        assert_eq!(slow.is_due("a", at(25)), Some(0));
    }
}
