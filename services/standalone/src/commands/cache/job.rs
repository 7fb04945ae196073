//! A job as the server tells of it.

use std::fmt;

use serde::Deserialize;

use crate::commands::output::printable;

#[derive(Debug, Deserialize)]
pub(super) struct Job {
    job_id: String,
    kind: String,
    state: String,
    #[serde(default)]
    pub done: u64,
    pub total: Option<u64>,
    #[serde(default)]
    changed: u64,
    note: Option<String>,
}

impl Job {
    /// Whether it goes no further.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed")
    }

    /// Whether it ended without its work.
    pub fn has_failed(&self) -> bool {
        self.state == "failed"
    }

    /// What is counted.
    pub fn unit(&self) -> &'static str {
        if self.kind == "cache_clear" { "entries" } else { "rows" }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job_id, kind, state, done, total, changed, note } = self;
        write!(f, "{} {}: {}, {done}", printable(kind), printable(job_id), printable(state))?;
        if let Some(total) = total {
            write!(f, " of {total}")?;
        }
        let did = if kind == "cache_clear" { "taken out of redis" } else { "put into redis" };
        write!(f, " {}, {changed} {did}", self.unit())?;
        if let Some(note) = note {
            write!(f, "; {}", printable(note))?;
        }
        f.write_str("\n")
    }
}
