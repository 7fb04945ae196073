//! Migrations as the server tells of them.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde_json::{Number, value::RawValue};

use crate::commands::{output::printable, table::table};

#[derive(Debug, Deserialize)]
pub(super) struct Estimate {
    agent_id: Option<String>,
    from_space_id: String,
    to_space_id: String,
    rows: u64,
    #[serde(default)]
    rows_there: u64,
    tokens: u64,
    #[serde(default)]
    tokens_basis: String,
    per_million_tokens_usd: Box<RawValue>,
    cost_usd: Box<RawValue>,
    hours: f64,
    disk_bytes: u64,
    #[serde(default)]
    index_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Parity {
    sampled: u32,
    k: u32,
    overlap: f64,
    least: f64,
    #[serde(default)]
    passed: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Migration {
    migration_id: String,
    agent_id: Option<String>,
    from_space_id: String,
    to_space_id: String,
    state: String,
    activity: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default)]
    pub rows_done: u64,
    #[serde(default)]
    rows_failed: u64,
    #[serde(default)]
    pub rows_left: u64,
    cost_usd: Box<RawValue>,
    budget_usd: Option<Box<RawValue>>,
    pub rows_per_second: Option<Number>,
    pub seconds_left: Option<u64>,
    parity: Option<Parity>,
    estimated_cost_usd: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct List {
    #[serde(default)]
    migrations: Vec<Migration>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failures {
    #[serde(default)]
    failures: Vec<FailedRow>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FailedRow {
    embedding_id: String,
    code: String,
    message: String,
}

impl Migration {
    pub fn id(&self) -> &str {
        &self.migration_id
    }

    /// Whether the copying has come to its end.
    pub fn rests(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "cut_over" | "finished" | "rolled_back")
    }

    /// Whether nothing that was asked for is under way.
    pub fn is_done(&self) -> bool {
        matches!(self.state.as_str(), "cut_over" | "finished" | "rolled_back")
    }

    pub fn is_paused(&self) -> bool {
        self.state == "paused"
    }

    /// What is done just now.
    pub fn now(&self) -> String {
        match &self.activity {
            Some(activity) => format!("{}, {}", printable(&self.state), printable(activity)),
            None => printable(&self.state),
        }
    }

    fn agents(&self) -> String {
        self.agent_id.as_deref().map_or_else(|| "every agent".to_owned(), printable)
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.rows_done + self.rows_left + self.rows_failed;
        writeln!(f, "migration  {}", printable(&self.migration_id))?;
        writeln!(f, "rows of    {}", self.agents())?;
        writeln!(f, "from       {}", printable(&self.from_space_id))?;
        writeln!(f, "to         {}", printable(&self.to_space_id))?;
        writeln!(f, "state      {}", self.now())?;
        if let Some(reason) = &self.reason {
            let message = self.message.as_deref().unwrap_or_default();
            writeln!(f, "because    {} {}", printable(reason), printable(message))?;
        }
        writeln!(f, "rows       {} of {all} done, {} failed", self.rows_done, self.rows_failed)?;
        write!(f, "cost       {} USD, {} estimated", self.cost_usd.get(), self.estimated_cost_usd.get())?;
        match &self.budget_usd {
            Some(budget) => writeln!(f, ", {} at most", budget.get())?,
            None => f.write_char('\n')?,
        }
        if let Some(left) = self.seconds_left {
            writeln!(f, "left       {}", span(left))?;
        }
        if let Some(Parity { sampled, k, overlap, least, passed }) = &self.parity {
            let passed = if *passed { "enough" } else { "not enough" };
            writeln!(
                f,
                "parity     {:.1} % of the {k} nearest agree, {:.1} % at least, of {sampled} rows: {passed}",
                overlap * 100.0,
                least * 100.0
            )?;
        }
        Ok(())
    }
}

pub(super) fn show_estimate(estimate: &Estimate) -> String {
    let mut text = String::new();
    let agents = estimate.agent_id.as_deref().map_or_else(|| "every agent".to_owned(), printable);
    let counted = if estimate.tokens_basis == "sampled" { "sampled anew" } else { "as stored" };
    let rows = [
        ("rows of", agents),
        ("from", printable(&estimate.from_space_id)),
        ("to", printable(&estimate.to_space_id)),
        ("rows", format!("{} to embed, {} there already", estimate.rows, estimate.rows_there)),
        ("tokens", format!("{} ({counted})", estimate.tokens)),
        ("price", format!("{} USD for a million tokens", estimate.per_million_tokens_usd.get())),
        ("cost", format!("{} USD", estimate.cost_usd.get())),
        ("time", span((estimate.hours * 3600.0).ceil() as u64)),
        ("disk", format!("{} and {} of indexes", bytes(estimate.disk_bytes), bytes(estimate.index_bytes))),
    ];
    for (name, value) in rows {
        // writing to a string cannot fail
        let _ = writeln!(text, "{name:<9}  {value}");
    }
    text
}

pub(super) fn show_list(list: &List) -> String {
    if list.migrations.is_empty() {
        return "there are no migrations\n".to_owned();
    }
    let rows: Vec<Vec<String>> = list
        .migrations
        .iter()
        .map(|one| {
            vec![
                one.migration_id.clone(),
                one.agents(),
                one.from_space_id.clone(),
                one.to_space_id.clone(),
                one.state.clone(),
                one.rows_done.to_string(),
                one.rows_left.to_string(),
                one.cost_usd.get().to_owned(),
            ]
        })
        .collect();
    table(5, &["migration", "agent", "from", "to", "state", "done", "left", "usd"], &rows)
}

pub(super) fn show_failures(failures: &Failures) -> String {
    if failures.failures.is_empty() {
        return "no row failed\n".to_owned();
    }
    let rows: Vec<Vec<String>> = failures
        .failures
        .iter()
        .map(|row| vec![row.embedding_id.clone(), row.code.clone(), row.message.clone()])
        .collect();
    let mut text = table(3, &["embedding", "code", "why"], &rows);
    if failures.next_page_token.is_some() {
        text.push_str("and more; --json has the token of the next page\n");
    }
    text
}

/// Seconds for people.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{} KiB", count.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}
