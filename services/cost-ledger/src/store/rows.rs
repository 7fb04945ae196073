//! Rows as values.

use std::str::FromStr;

use embermesh_postgres::{DbError, Row};
use embermesh_types::{AttemptId, NanoUsd};

use crate::domain::attempt::{Attempt, State};

/// Reads the columns of an attempt by name.
pub(crate) fn attempt(row: &Row) -> Result<Attempt, DbError> {
    let state: &str = row.try_get("state")?;
    Ok(Attempt {
        id: AttemptId::new(row.try_get("attempt_id")?),
        state: State::parse(state).ok_or_else(|| unreadable("state"))?,
        agent: parsed(row, "agent_id")?,
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved: NanoUsd(row.try_get("reserved_nano_usd")?),
        amount: row.try_get::<_, Option<i64>>("amount_nano_usd")?.map(NanoUsd),
        tokens: row.try_get("tokens")?,
        day: row.try_get("day")?,
        reserved_at: row.try_get("reserved_at")?,
    })
}

/// A text column that was checked before it was written.
pub(crate) fn parsed<T: FromStr>(row: &Row, column: &str) -> Result<T, DbError> {
    row.try_get::<_, &str>(column)?.parse().map_err(|_| unreadable(column))
}

pub(crate) fn unreadable(column: &str) -> DbError {
    DbError::Protocol(format!("column {column} holds what was never written"))
}
