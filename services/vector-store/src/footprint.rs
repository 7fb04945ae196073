//! `vector_rows`, `vector_table_bytes` and `vector_index_scans_total`: what vectors take in PostgreSQL. Asked of its statistics now and
//! then, and never by whoever scrapes. Every replica tells the same, so that a query takes the largest, not the sum.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_telemetry::Metrics;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use tokio::sync::Mutex;

use crate::store::{Scans, Store, Table};

/// Between two looks, unless they take long.
const EVERY: Duration = Duration::from_secs(15);
/// Looking takes at most this part of the time.
const SHARE: u32 = 100;
/// Spaces that have a line of their own, the largest; the others share [`OTHER`]. Clients may choose how long vectors are, and make a
/// space by it.
const MAX_SPACES: usize = 200;
const MAX_INDEXES: usize = 1_000;
/// No space is called so.
const OTHER: &str = "other";

/// Handles of the metrics, and what they show.
#[derive(Debug)]
pub(crate) struct Footprint {
    rows: IntGaugeVec,
    bytes: IntGaugeVec,
    scans: IntCounterVec,
    shown: BTreeSet<String>,
    /// By the index of a month.
    seen: HashMap<u32, u64>,
    indexes: BTreeSet<String>,
}

impl Footprint {
    /// Registers the metrics.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let rows = Opts::new("vector_rows", "Rows of a space's table, as PostgreSQL estimates them.");
        let bytes = Opts::new("vector_table_bytes", "What a space's table takes on disk, with its indexes.");
        let scans = Opts::new("vector_index_scans_total", "Scans of an index, over all its months.");
        Ok(Self {
            rows: metrics.register(IntGaugeVec::new(rows, &["space"])?),
            bytes: metrics.register(IntGaugeVec::new(bytes, &["space"])?),
            scans: metrics.register(IntCounterVec::new(scans, &["index"])?),
            shown: BTreeSet::new(),
            seen: HashMap::new(),
            indexes: BTreeSet::new(),
        })
    }

    /// Looks for as long as the process runs. While the database is away, what was seen last is shown.
    pub(crate) fn start(self, store: &Arc<Store>, tasks: &Tasks) -> Arc<Mutex<Self>> {
        let this = Arc::new(Mutex::new(self));
        let (footprint, store, end) = (Arc::clone(&this), Arc::clone(store), tasks.clone());
        tasks.spawn("vector-store footprint", async move {
            loop {
                let begun = Instant::now();
                if let Err(error) = footprint.lock().await.look(&store).await {
                    tracing::debug!(%error, "cannot see what vectors take in the database");
                }
                let pause = EVERY.max(begun.elapsed() * SHARE);
                tokio::select! {
                    () = end.stopping() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
        this
    }

    /// One look.
    pub(crate) async fn look(&mut self, store: &Store) -> Result<(), DbError> {
        let tables = store.tables().await?;
        let largest: Vec<i32> = tables.iter().take(MAX_SPACES).map(|table| table.space_no).collect();
        let scans = store.index_scans(&largest).await?;
        self.show_tables(&tables);
        self.show_scans(&scans);
        Ok(())
    }

    /// Shows these tables, which come largest first, and no others.
    fn show_tables(&mut self, tables: &[Table]) {
        let (own, others) = tables.split_at(tables.len().min(MAX_SPACES));
        let mut show = BTreeMap::new();
        for table in own {
            show.insert(table.space.as_str(), (table.rows, table.bytes));
        }
        if !others.is_empty() {
            let sum = |of: fn(&Table) -> i64| others.iter().map(of).sum::<i64>();
            show.insert(OTHER, (sum(|table| table.rows), sum(|table| table.bytes)));
        }
        for (space, (rows, bytes)) in &show {
            self.rows.with_label_values(&[*space]).set(*rows);
            self.bytes.with_label_values(&[*space]).set(*bytes);
        }
        let now: BTreeSet<String> = show.into_keys().map(str::to_owned).collect();
        for gone in self.shown.difference(&now) {
            let label = [gone.as_str()];
            // one that was never shown cannot be removed, and need not be
            let _absent = (self.rows.remove_label_values(&label), self.bytes.remove_label_values(&label));
        }
        self.shown = now;
    }

    /// Adds what was scanned since the last look: the sum over months would fall when one leaves, and count anew what was counted.
    fn show_scans(&mut self, scans: &[Scans]) {
        let mut seen = HashMap::with_capacity(scans.len());
        let mut now = BTreeSet::new();
        for Scans { oid, index, scans } in scans {
            let before = self.seen.get(oid).copied().unwrap_or_default();
            seen.insert(*oid, *scans);
            // after a crash PostgreSQL counts from zero
            let more = if *scans < before { *scans } else { scans - before };
            let own = now.contains(index) || now.len() < MAX_INDEXES;
            let index = if own { index.as_str() } else { OTHER };
            self.scans.with_label_values(&[index]).inc_by(more);
            now.insert(index.to_owned());
        }
        for gone in self.indexes.difference(&now) {
            let _absent = self.scans.remove_label_values(&[gone.as_str()]);
        }
        (self.seen, self.indexes) = (seen, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<String> {
        metrics.render().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn table(space_no: i32, rows: i64, bytes: i64) -> Table {
        Table { space_no, space: format!("maker/model-{space_no}@4"), rows, bytes }
    }

    fn scans(oid: u32, index: &str, scans: u64) -> Scans {
        Scans { oid, index: index.to_owned(), scans }
    }

    #[test]
    fn spaces_beyond_the_cap_share_a_line_and_a_dropped_one_has_none() {
        let metrics = Metrics::default();
        let mut footprint = Footprint::new(&metrics).unwrap();
        let many: Vec<Table> = (0..5_000).map(|n| table(n, 2, i64::from(5_000 - n))).collect();
        footprint.show_tables(&many);
        let shown = lines(&metrics);
        assert_eq!(shown.len(), 2 * (MAX_SPACES + 1));
        let others = format!("vector_rows{{space=\"other\"}} {}", 2 * (5_000 - MAX_SPACES));
        assert!(shown.contains(&others), "{shown:?}");

        footprint.show_tables(&[table(7, 3, 8_192)]);
        assert_eq!(
            lines(&metrics),
            [
                "vector_rows{space=\"maker/model-7@4\"} 3",
                "vector_table_bytes{space=\"maker/model-7@4\"} 8192"
            ]
        );
        footprint.show_tables(&[]);
        assert_eq!(lines(&metrics), [""; 0]);
    }

    #[test]
    fn months_that_leave_and_statistics_that_are_lost_take_nothing_back() {
        let metrics = Metrics::default();
        let mut footprint = Footprint::new(&metrics).unwrap();
        footprint.show_scans(&[scans(1, "space_1_hnsw", 10), scans(2, "space_1_hnsw", 5)]);
        assert_eq!(lines(&metrics), ["vector_index_scans_total{index=\"space_1_hnsw\"} 15"]);
        footprint.show_scans(&[scans(2, "space_1_hnsw", 6), scans(3, "space_1_pkey", 0)]);
        let both = [
            "vector_index_scans_total{index=\"space_1_hnsw\"} 16",
            "vector_index_scans_total{index=\"space_1_pkey\"} 0",
        ];
        assert_eq!(lines(&metrics), both);
        footprint.show_scans(&[scans(2, "space_1_hnsw", 1)]);
        assert_eq!(lines(&metrics), ["vector_index_scans_total{index=\"space_1_hnsw\"} 17"]);
        let many: Vec<Scans> = (0..3_000).map(|n| scans(n, &format!("index_{n}"), 1)).collect();
        footprint.show_scans(&many);
        assert_eq!(lines(&metrics).len(), MAX_INDEXES + 1);
    }
}
