//! The rows of attempts: locked by everybody who decides on them, inserted once, ended once.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use embermesh_postgres::{DbError, Transaction, together, types::ToSql};
use embermesh_types::{AttemptId, TenantId};
use uuid::Uuid;

use super::{
    batch::all,
    parts::{self, Unfilled},
    rows,
};
use crate::domain::{
    attempt::{Attempt, State},
    books::Known,
    part::Part,
    reserve::Reserve,
    settlement::Settlement,
};

/// Locks those of the attempts that the books hold until the transaction ends.
pub(crate) async fn lock(
    transaction: &Transaction,
    tenant: TenantId,
    asked: BTreeMap<Uuid, SystemTime>,
) -> Result<Vec<Attempt>, DbError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, times): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let sql = "SELECT a.* FROM unnest($2::uuid[], $3::timestamptz[]) AS asked (attempt_id, created_at),
        LATERAL (SELECT attempt_id, created_at, state, agent_id, key_id, request_id, provider, model, reserved_nano_usd,
                        amount_nano_usd, tokens_bound, tokens, inputs, billed_units, day, reserved_at, lease_id
                 FROM attempts
                 WHERE tenant_id = $1 AND attempt_id = asked.attempt_id AND created_at = asked.created_at
                 FOR UPDATE) AS a";
    let rows = transaction.query(sql, &[&tenant.uuid(), &ids, &times]).await?;
    let mut held = rows.iter().map(rows::attempt).collect::<Result<Vec<_>, DbError>>()?;
    // a second statement only where an attempt is shared; its parts never change, so they need no lock
    if let Some(shared) = Unfilled::among(held.iter_mut().map(|attempt| (tenant, attempt))) {
        let rows = transaction.query(parts::SELECT, &shared.columns()).await?;
        shared.fill(&rows)?;
    }
    Ok(held)
}

/// Writes the attempts that begin, those that end at once in one row with their end, and the ends of others.
pub(crate) async fn write(
    transaction: &Transaction,
    tenant: TenantId,
    attempts: &[Known<'_>],
    now: SystemTime,
) -> Result<(), DbError> {
    let new: Vec<NewRow<'_>> = attempts.iter().filter_map(NewRow::of).collect();
    let ended = attempts.iter().filter(|known| known.begins.is_none());
    let ended: Vec<&Settlement> = ended.filter_map(|known| known.ends.as_deref()).collect();
    insert(transaction, tenant, &new, now).await?;
    parts::insert(transaction, tenant, attempts).await?;
    end(transaction, tenant, &ended, now).await
}

/// What an attempt comes to in its one row.
struct NewRow<'a> {
    reserve: &'a Reserve,
    attempt: &'a Attempt,
    end: Option<&'a Settlement>,
    /// The one part, unless it is shared.
    lone: Option<&'a Part>,
    tokens_bound: i64,
    inputs: i32,
}

impl<'a> NewRow<'a> {
    fn of(known: &'a Known<'_>) -> Option<Self> {
        let (reserve, attempt) = (known.begins?, &known.attempt);
        let lone = if let [part] = &*reserve.parts { Some(part) } else { None };
        let end = known.ends.as_deref();
        let mut row = Self { reserve, attempt, end, lone, tokens_bound: 0, inputs: 0 };
        for part in attempt.reserved_parts() {
            row.tokens_bound += part.tokens_bound;
            row.inputs += part.inputs;
        }
        Some(row)
    }
}

async fn insert(
    transaction: &Transaction,
    tenant: TenantId,
    rows: &[NewRow<'_>],
    now: SystemTime,
) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&Reserve) -> &str| -> Vec<&str> { rows.iter().map(|row| of(row.reserve)).collect() };
    let lone =
        |of: fn(&Part) -> &str| -> Vec<Option<&str>> { rows.iter().map(|row| row.lone.map(of)).collect() };
    let number = |of: fn(&NewRow<'_>) -> i64| -> Vec<i64> { rows.iter().map(of).collect() };
    let maybe =
        |of: fn(&Attempt) -> Option<i64>| -> Vec<_> { rows.iter().map(|row| of(row.attempt)).collect() };
    let ids: Vec<_> = rows.iter().map(|row| row.reserve.attempt.uuid()).collect();
    let times: Vec<_> = rows.iter().map(|row| row.reserve.created_at).collect();
    let inputs: Vec<_> = rows.iter().map(|row| row.inputs).collect();
    let states: Vec<_> = rows.iter().map(|row| row.attempt.state.as_str()).collect();
    let days: Vec<_> = rows.iter().map(|row| row.attempt.day).collect();
    let reserved_at: Vec<_> = rows.iter().map(|row| row.attempt.reserved_at).collect();
    let settled_at: Vec<_> = rows.iter().map(|row| row.end.map(|_| now)).collect();
    let sessions: Vec<_> = rows.iter().map(|row| row.reserve.session.map(|id| id.uuid())).collect();
    let leases: Vec<_> =
        rows.iter().map(|row| row.lone.and_then(|part| part.lease).map(|id| id.uuid())).collect();
    let sql = "INSERT INTO attempts (tenant_id, attempt_id, created_at, agent_id, key_id, request_id, provider, deployment,
            model, space_id, reserved_nano_usd, tokens_bound, price_per_million_nano_usd, inputs, state, day, reserved_at,
            amount_nano_usd, tokens, billed_units, settled_at, session_id, lease_id)
        SELECT $1, a.* FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::int[], $15::text[], $16::date[],
            $17::timestamptz[], $18::bigint[], $19::bigint[], $20::bigint[], $21::timestamptz[], $22::uuid[], $23::uuid[]) AS a";
    let written = transaction
        .execute(
            sql,
            &[
                &tenant.uuid(),
                &ids,
                &times,
                &lone(|part| part.agent.as_str()),
                &lone(|part| part.key.as_str()),
                &lone(|part| part.request.as_str()),
                &text(|reserve| &reserve.provider),
                &text(|reserve| &reserve.deployment),
                &text(|reserve| &reserve.model),
                &text(|reserve| reserve.space.as_str()),
                &number(|row| row.attempt.reserved.0),
                &number(|row| row.tokens_bound),
                &number(|row| row.reserve.price.0),
                &inputs,
                &states,
                &days,
                &reserved_at,
                &maybe(|attempt| attempt.amount.map(|amount| amount.0)),
                &maybe(|attempt| attempt.tokens),
                &maybe(|attempt| attempt.billed_units),
                &settled_at,
                &sessions,
                &leases,
            ],
        )
        .await?;
    all(written, rows.len())
}

/// Gives attempts their terminal state. A statement for each: one for all would be a join, which may be planned as a scan of
/// whatever is open.
async fn end(
    transaction: &Transaction,
    tenant: TenantId,
    ended: &[&Settlement],
    now: SystemTime,
) -> Result<(), DbError> {
    // not `state = 'reserved'`: the planner would take the index of all that is open for a small one
    let sql = "UPDATE attempts SET state = $4, amount_nano_usd = $5, tokens = $6, billed_units = $7, settled_at = $8
               WHERE tenant_id = $1 AND attempt_id = $2 AND created_at = $3 AND settled_at IS NULL";
    let tenant = tenant.uuid();
    let end = async |settlement: &Settlement| {
        let (id, state, amount) =
            (settlement.attempt.uuid(), settlement.outcome.as_str(), settlement.amount.0);
        let Settlement { created_at, tokens, billed_units, .. } = settlement;
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&tenant, &id, created_at, &state, &amount, tokens, billed_units, &now];
        all(transaction.execute(sql, &parameters).await?, 1)
    };
    together(ended.iter().map(|settlement| end(settlement))).await.map(drop)
}

/// Those that have ended.
pub(crate) fn ended(held: &[Attempt]) -> HashMap<AttemptId, &Attempt> {
    let ended = held.iter().filter(|attempt| attempt.state != State::Reserved);
    ended.map(|attempt| (attempt.id, attempt)).collect()
}
