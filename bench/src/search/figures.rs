//! One line of the table, and how it is printed.

use std::{fmt::Write as _, time::Duration};

/// One way to search, measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What was measured.
    pub name: String,
    /// Share of the true ten that were found.
    pub recall: f64,
    /// Searches a second and their latencies, with one client and with sixteen.
    pub runs: [Run; 2],
    /// Building the index.
    pub build: Option<Duration>,
    /// Of the index.
    pub bytes: Option<i64>,
}

/// Searches of some clients for a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// A second.
    pub searches: f64,
    /// Half took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

impl Run {
    /// Of what every search took, over a time.
    #[must_use]
    pub fn of(mut taken: Vec<Duration>, over: Duration) -> Self {
        taken.sort_unstable();
        let at = |percent: usize| {
            taken.get(taken.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let searches = taken.len() as f64 / over.as_secs_f64();
        Self { searches, p50: at(50), p99: at(99) }
    }
}

/// A Markdown table.
#[must_use]
pub fn table(rows: &[Figures]) -> String {
    let mut out = String::from(
        "| search | recall@10 | 1 client: QPS | p50 ms | p99 ms | 16 clients: QPS | p50 ms | p99 ms | build s | index MB |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for Figures { name, recall, runs: [one, many], build, bytes } in rows {
        let build = build.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f64()));
        let size = bytes.map_or_else(String::new, |bytes| format!("{}", bytes / 1_000_000));
        let _infallible = writeln!(
            out,
            "| {name} | {recall:.4} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {build} | {size} |",
            one.searches,
            ms(one.p50),
            ms(one.p99),
            many.searches,
            ms(many.p50),
            ms(many.p99),
        );
    }
    out
}
