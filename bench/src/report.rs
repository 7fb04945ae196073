//! Medians over the rounds, as a table for people, Markdown for the docs and JSON for machines.

use std::fmt::Write;

use serde::Serialize;

use crate::load::Sample;
use crate::workload::Case;

/// All rounds of one case and target.
#[derive(Debug)]
pub struct Measured {
    /// The case.
    pub case: Case,
    /// `proxy` or the product.
    pub target: String,
    /// One sample per round.
    pub rounds: Vec<Sample>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// `proxy` or the product.
    pub target: String,
    /// Answers per second.
    pub requests_per_second: f64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile of latency.
    pub p99_us: f64,
    /// CPU time of the server process per answer.
    pub cpu_us_per_request: f64,
    /// Lowest and highest round of the same.
    pub cpu_us_range: (f64, f64),
    /// CPU time of the server's child processes (its database, say) per answer.
    pub children_cpu_us_per_request: f64,
    /// Share of a core that the server process kept busy.
    pub busy: f64,
    /// CPU time per answer over that of the proxy: median of the ratios of each round with the proxy's round beside it,
    /// since a shared machine changes speed by a factor within seconds and the medians may be of different moments.
    pub ratio_to_proxy: Option<f64>,
}

/// Names the target that the others are compared with.
pub const PROXY: &str = "proxy";

/// Condenses the rounds, each case's proxy first if it was measured first.
#[must_use]
pub fn rows(measured: &[Measured]) -> Vec<Row> {
    let floor = |case: Case| measured.iter().find(|one| one.case == case && one.target == PROXY);
    measured
        .iter()
        .map(|one| {
            let all = one.rounds.iter().map(|sample| sample.cpu_us);
            Row {
                case: one.case.name(),
                target: one.target.clone(),
                requests_per_second: median(one, |sample| sample.per_second),
                p50_us: median(one, |sample| sample.p50_us),
                p99_us: median(one, |sample| sample.p99_us),
                cpu_us_per_request: median(one, |sample| sample.cpu_us),
                cpu_us_range: (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max)),
                children_cpu_us_per_request: median(one, |sample| sample.children_cpu_us),
                busy: median(one, |sample| sample.busy),
                ratio_to_proxy: floor(one.case).map(|floor| ratio(one, floor)),
            }
        })
        .collect()
}

fn ratio(measured: &Measured, floor: &Measured) -> f64 {
    median_of(
        measured.rounds.iter().zip(&floor.rounds).map(|(one, floor)| one.cpu_us / floor.cpu_us).collect(),
    )
}

fn median(measured: &Measured, figure: impl Fn(&Sample) -> f64) -> f64 {
    median_of(measured.rounds.iter().map(figure).collect())
}

fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

const HEADINGS: [&str; 9] = [
    "case",
    "target",
    "req/s",
    "p50 µs",
    "p99 µs",
    "CPU µs/req",
    "children CPU µs/req",
    "core busy",
    "× proxy CPU",
];

fn cells(row: &Row) -> [String; 9] {
    [
        row.case.clone(),
        row.target.clone(),
        format!("{:.0}", row.requests_per_second),
        format!("{:.0}", row.p50_us),
        format!("{:.0}", row.p99_us),
        format!("{:.1}", row.cpu_us_per_request),
        format!("{:.1}", row.children_cpu_us_per_request),
        format!("{:.0} %", row.busy * 100.0),
        row.ratio_to_proxy.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
    ]
}

/// A Markdown table; read as plain text its columns line up.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();

    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ =
                if column < 2 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
        }
        out.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column < 2 { '-' } else { ':' };
                let _ = write!(out, "|-{}{end}", "-".repeat(*width));
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(target: &str, cpu: &[f64]) -> Measured {
        let sample = |cpu_us: &f64| Sample {
            requests: 10,
            per_second: 1234.4,
            p50_us: 50.0,
            p99_us: 99.6,
            cpu_us: *cpu_us,
            children_cpu_us: 0.0,
            busy: 0.5,
        };
        let case = Case { inputs: 1, base64: true, hit: false };
        Measured { case, target: target.to_owned(), rounds: cpu.iter().map(sample).collect() }
    }

    #[test]
    fn takes_medians_and_compares_with_the_proxy_of_the_same_case() {
        let rows = rows(&[measured(PROXY, &[30.0, 10.0, 20.0]), measured("embermesh", &[90.0, 50.0])]);
        let speed_change =
            super::rows(&[measured(PROXY, &[8.0, 8.0, 16.0]), measured("e", &[24.0, 48.0, 48.0])]);
        assert_eq!(speed_change[1].ratio_to_proxy, Some(3.0), "48 / 8 at the medians would be wrong");
        assert_eq!(rows[0].ratio_to_proxy, Some(1.0));
        assert_eq!(rows[1].cpu_us_range, (50.0, 90.0));
        assert_eq!(rows[1].ratio_to_proxy, Some(4.0), "3 and 5, round by round");
        let mut other = measured("embermesh", &[1.0]);
        other.case.hit = true;
        assert_eq!(super::rows(&[measured(PROXY, &[1.0]), other])[1].ratio_to_proxy, None);
    }

    #[test]
    fn the_table_lines_up() {
        let table = table(&rows(&[measured(PROXY, &[20.0]), measured("embermesh", &[70.0])]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{table}");
        assert_eq!(
            lines[3].split('|').map(str::trim).collect::<Vec<_>>(),
            ["", "1 base64 miss", "embermesh", "1234", "50", "100", "70.0", "0.0", "50 %", "3.50", ""]
        );
    }
}
