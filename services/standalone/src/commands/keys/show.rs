//! The answers for people.

use std::time::SystemTime;

use super::answers::{CreatedKey, Key, RotatedKey};
use crate::commands::{output::printable, table::table};

const ONCE: &str = "The key is shown this once; the server keeps only its hash.\n";

/// A row each, in the order of their making.
pub(super) fn keys(keys: &[Key], now: SystemTime) -> String {
    let rows: Vec<Vec<String>> = keys.iter().map(|key| cells(key, now)).collect();
    let header = ["id", "name", "agent", "scopes", "state", "created", "ends", "last used", "successor"];
    table(header.len(), &header, &rows)
}

/// A line for each field.
pub(super) fn key(key: &Key, now: SystemTime) -> String {
    let names = ["id", "name", "agent", "scopes", "state", "created", "ends", "last used", "successor"];
    fields(names.into_iter().zip(cells(key, now)))
}

/// With the secret.
pub(super) fn created(made: &CreatedKey) -> String {
    let secret = ("key", made.key.clone());
    fields(described(made).into_iter().chain([secret])) + "\n" + ONCE
}

/// Without the secret, which is in a file.
pub(super) fn kept(made: &CreatedKey) -> String {
    fields(described(made))
}

/// A row for each rotation; with the secrets that are not in a file.
pub(super) fn rotated(rotated: &[RotatedKey]) -> String {
    if rotated.is_empty() {
        return String::new();
    }
    let shown = rotated.iter().any(|made| !made.key.is_empty());
    let rows: Vec<Vec<String>> = rotated
        .iter()
        .map(|made| {
            let mut row = vec![
                made.predecessor_id.clone(),
                or_dash(made.predecessor_expires_at.as_deref()),
                made.id.clone(),
                made.name.clone(),
                or_dash(made.agent_id.as_deref()),
            ];
            if shown {
                row.push(or_dash(Some(&made.key)));
            }
            row
        })
        .collect();
    let header = ["key", "works until", "successor", "name", "agent", "new key"];
    let header = &header[..header.len() - usize::from(!shown)];
    let secret =
        if shown { "\nNew keys are shown this once; the server keeps only their hashes.\n" } else { "" };
    table(header.len(), header, &rows) + secret
}

/// No answer came to the rotation of a key.
pub(super) fn unknown(id: &str) -> String {
    let id = printable(id);
    format!(
        "{id}: whether it was rotated is not known. If `embermesh keys get {id}` shows a successor, its secret is lost: rotate the \
         successor with --overlap 0s\n"
    )
}

fn cells(key: &Key, now: SystemTime) -> Vec<String> {
    vec![
        key.id.clone(),
        key.name.clone(),
        or_dash(key.agent_id.as_deref()),
        key.scopes.join(","),
        key.state(now).as_str().to_owned(),
        key.created_at.clone(),
        or_dash(key.expires_at.as_deref()),
        or_dash(key.last_used_at.as_deref()),
        or_dash(key.successor_id.as_deref()),
    ]
}

fn described(made: &CreatedKey) -> [(&'static str, String); 5] {
    [
        ("id", made.id.clone()),
        ("name", made.name.clone()),
        ("agent", or_dash(made.agent_id.as_deref())),
        ("scopes", made.scopes.join(",")),
        ("ends", or_dash(made.expires_at.as_deref())),
    ]
}

fn fields(fields: impl IntoIterator<Item = (&'static str, String)>) -> String {
    fields.into_iter().map(|(name, value)| format!("{name:<10} {}\n", printable(&value))).collect()
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}
