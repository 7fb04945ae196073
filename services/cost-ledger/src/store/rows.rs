//! Rows as values.

use std::str::FromStr;

use embermesh_postgres::{DbError, Row};
use embermesh_types::{AttemptId, NanoUsd};
use uuid::Uuid;

use crate::domain::{
    attempt::{Attempt, State},
    ids::LeaseId,
    part::Part,
};

/// Reads the columns of an attempt by name. One that is shared has its parts in a table of their own, and none here.
pub(crate) fn attempt(row: &Row) -> Result<Attempt, DbError> {
    let state: &str = row.try_get("state")?;
    let reserved = NanoUsd(row.try_get("reserved_nano_usd")?);
    let shared = row.try_get::<_, Option<&str>>("agent_id")?.is_none();
    Ok(Attempt {
        id: AttemptId::new(row.try_get("attempt_id")?),
        created_at: row.try_get("created_at")?,
        state: State::parse(state).ok_or_else(|| unreadable("state"))?,
        parts: if shared { Vec::new() } else { vec![part(row, reserved)?] },
        refused: Vec::new(),
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved,
        amount: row.try_get::<_, Option<i64>>("amount_nano_usd")?.map(NanoUsd),
        tokens: row.try_get("tokens")?,
        billed_units: row.try_get("billed_units")?,
        day: row.try_get("day")?,
        reserved_at: row.try_get("reserved_at")?,
    })
}

/// The request that a row is of, which may cost `amount`.
pub(crate) fn part(row: &Row, amount: NanoUsd) -> Result<Part, DbError> {
    Ok(Part {
        request: parsed(row, "request_id")?,
        agent: parsed(row, "agent_id")?,
        key: parsed(row, "key_id")?,
        amount,
        tokens_bound: row.try_get("tokens_bound")?,
        inputs: row.try_get("inputs")?,
        lease: row.try_get::<_, Option<Uuid>>("lease_id")?.map(LeaseId::new),
    })
}

/// A text column that was checked before it was written.
pub(crate) fn parsed<T: FromStr>(row: &Row, column: &str) -> Result<T, DbError> {
    row.try_get::<_, &str>(column)?.parse().map_err(|_| unreadable(column))
}

pub(crate) fn unreadable(column: &str) -> DbError {
    DbError::Protocol(format!("column {column} holds what was never written"))
}
