//! What does not agree: each kind with its count and its first rows.

use std::{collections::BTreeMap, fmt};

/// Rows that are kept of each kind.
const EXAMPLES: usize = 10;

/// Disagreements by kind. None: everything agrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(BTreeMap<&'static str, (usize, Vec<String>)>);

impl Findings {
    /// Notes one.
    pub fn note(&mut self, what: &'static str, row: impl fmt::Display) {
        let (count, rows) = self.0.entry(what).or_default();
        *count += 1;
        if rows.len() < EXAMPLES {
            rows.push(row.to_string());
        }
    }

    /// Adds those of another.
    pub fn add(&mut self, other: Self) {
        for (what, (count, rows)) in other.0 {
            let (sum, kept) = self.0.entry(what).or_default();
            *sum += count;
            kept.extend(rows);
            kept.truncate(EXAMPLES);
        }
    }

    /// Whether everything agrees.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are some of these kinds.
    #[must_use]
    pub fn has_any(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|what| self.0.contains_key(what))
    }

    /// How many there are of a kind.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.0.get(what).map_or(0, |(count, _)| *count)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, (count, rows)) in &self.0 {
            writeln!(f, "{count} × {what}")?;
            for row in rows {
                writeln!(f, "    {row}")?;
            }
        }
        Ok(())
    }
}
