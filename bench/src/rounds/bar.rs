//! What was measured beside what was promised.

use std::fmt::Write;

/// One promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The round that it belongs to.
    pub round: String,
    /// What was looked at.
    pub what: String,
    /// What came out.
    pub measured: String,
    /// What was promised; empty for a figure that is only told.
    pub promised: String,
    /// Whether the promise was kept.
    pub kept: bool,
}

impl Bar {
    /// A figure that may not be above `most`.
    #[must_use]
    pub fn at_most(round: &str, what: &str, measured: f64, most: f64, unit: &str) -> Self {
        Self {
            round: round.to_owned(),
            what: what.to_owned(),
            measured: figure(measured, unit),
            promised: format!("≤ {}", figure(most, unit)),
            kept: measured <= most,
        }
    }

    /// Something that may not happen.
    #[must_use]
    pub fn none(round: &str, what: &str, count: usize, example: Option<&str>) -> Self {
        let example = example.map(|example| format!(": {}", example.chars().take(160).collect::<String>()));
        Self {
            round: round.to_owned(),
            what: what.to_owned(),
            measured: format!("{count}{}", example.unwrap_or_default()),
            promised: "0".to_owned(),
            kept: count == 0,
        }
    }

    /// A figure without a promise.
    #[must_use]
    pub fn told(round: &str, what: &str, measured: String) -> Self {
        Self { round: round.to_owned(), what: what.to_owned(), measured, promised: String::new(), kept: true }
    }
}

fn figure(value: f64, unit: &str) -> String {
    let digits = if value.fract() == 0.0 { 0 } else { 2 };
    if unit.is_empty() { format!("{value:.digits$}") } else { format!("{value:.digits$} {unit}") }
}

/// A Markdown table.
#[must_use]
pub fn table(bars: &[Bar]) -> String {
    let mut out = String::from("| round | what | measured | bar | kept |\n|---|---|---:|---:|---|\n");
    for Bar { round, what, measured, promised, kept } in bars {
        let kept = match (promised.is_empty(), kept) {
            (true, _) => "",
            (false, true) => "yes",
            (false, false) => "**no**",
        };
        let _ =
            writeln!(out, "| {round} | {what} | {} | {promised} | {kept} |", measured.replace('|', "\\|"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_kept_up_to_its_figure_and_a_told_figure_always() {
        assert!(Bar::at_most("r", "w", 6.0, 6.0, "calls").kept);
        assert!(!Bar::at_most("r", "w", 6.01, 6.0, "calls").kept);
        assert!(Bar::none("r", "w", 0, None).kept && !Bar::none("r", "w", 1, Some("503")).kept);
        let table =
            table(&[Bar::told("r", "p99", "3 ms".to_owned()), Bar::none("r", "failed", 2, Some("a|b"))]);
        assert!(table.contains("| r | p99 | 3 ms |  |  |"), "{table}");
        assert!(table.contains("| r | failed | 2: a\\|b | 0 | **no** |"), "{table}");
    }
}
