//! A migration as its operator sees it.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::v1;
use uuid::Uuid;

/// What [`migration`] reads, and from where.
pub(super) const COLUMNS: &str = "m.migration_id, m.agent_id, f.space_id, t.space_id, m.to_model, m.state, m.activity, m.reason, m.message, \
    m.rows_there, m.rows_copied, m.rows_failed, m.rows_left, m.tokens, m.cost_nano_usd, m.budget_nano_usd, \
    m.requests_per_minute, m.tokens_per_minute, m.on_too_long, m.min_overlap, m.rows_per_second, m.parity::text, \
    m.estimated_rows, m.estimated_tokens, m.estimated_cost_nano_usd, m.created_at, m.ready_at, m.cut_over_at, m.ended_at, \
    m.tenant_id, m.key_id, m.cursor_id, m.moved::text, m.failing_since, m.cutting_since \
    FROM migrations m JOIN spaces f ON f.space_no = m.from_space JOIN spaces t ON t.space_no = m.to_space";

pub(super) fn migration(row: &Row) -> Result<v1::Migration, DbError> {
    let count = |at: usize| Ok::<_, DbError>(u64::try_from(row.try_get::<_, i64>(at)?).unwrap_or_default());
    let time = |at: usize| {
        Ok::<_, DbError>(row.try_get::<_, Option<SystemTime>>(at)?.map(prost_types::Timestamp::from))
    };
    let (there, copied, left) = (count(9)?, count(10)?, count(12)?);
    let rate: Option<f64> = row.try_get(20)?;
    let state: String = row.try_get(5)?;
    let parity: Option<String> = row.try_get(21)?;
    let parity = parity.map(|text| serde_json::from_str(&text));
    let parity =
        parity.transpose().map_err(|error| DbError::Protocol(format!("a parity is unreadable: {error}")))?;
    Ok(v1::Migration {
        migration_id: row.try_get::<_, Uuid>(0)?.to_string(),
        agent_id: Some(row.try_get::<_, String>(1)?).filter(|agent| !agent.is_empty()),
        from_space_id: row.try_get(2)?,
        to_space_id: row.try_get(3)?,
        to_model: row.try_get(4)?,
        seconds_left: rate.filter(|rate| *rate > 0.0 && state == "running").map(|rate| {
            // a float that is too large becomes the largest integer
            (left as f64 / rate).ceil() as u64
        }),
        state,
        activity: row.try_get(6)?,
        reason: row.try_get(7)?,
        message: row.try_get(8)?,
        rows_done: there + copied,
        rows_copied: copied,
        rows_failed: count(11)?,
        rows_left: left,
        tokens: count(13)?,
        cost_nano_usd: row.try_get(14)?,
        budget_nano_usd: row.try_get(15)?,
        requests_per_minute: u32::try_from(row.try_get::<_, i32>(16)?).unwrap_or_default(),
        tokens_per_minute: count(17)?,
        on_too_long: row.try_get(18)?,
        min_overlap: row.try_get(19)?,
        rows_per_second: rate,
        parity,
        estimated_rows: count(22)?,
        estimated_tokens: count(23)?,
        estimated_cost_nano_usd: row.try_get(24)?,
        created_at: time(25)?,
        ready_at: time(26)?,
        cut_over_at: time(27)?,
        ended_at: time(28)?,
    })
}
