//! The parts of shared attempts. An attempt of one request has no rows here.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use embermesh_errors::{Code, Error};
use embermesh_postgres::{DbError, Row, Transaction, types::ToSql};
use embermesh_types::{NanoUsd, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::rows::{self, unreadable};
use crate::domain::{
    attempt::Attempt,
    books::Known,
    part::{Part, Refused},
};

/// The parts of [`Unfilled::columns`], each attempt's in order.
pub(crate) const SELECT: &str = "SELECT p.* FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
        AS asked (tenant_id, attempt_id, created_at),
    LATERAL (SELECT tenant_id, attempt_id, part, request_id, agent_id, key_id, asked_nano_usd, tokens_bound, inputs,
                    refusal::text AS refusal, lease_id
             FROM attempt_parts
             WHERE tenant_id = asked.tenant_id AND attempt_id = asked.attempt_id AND created_at = asked.created_at
             ORDER BY part) AS p";

/// Shared attempts that were read without their parts.
pub(crate) struct Unfilled<'a> {
    attempts: HashMap<(Uuid, Uuid), &'a mut Attempt>,
    tenants: Vec<Uuid>,
    ids: Vec<Uuid>,
    times: Vec<SystemTime>,
}

impl<'a> Unfilled<'a> {
    /// The shared ones; `None` when there are none, as mostly.
    pub(crate) fn among(attempts: impl Iterator<Item = (TenantId, &'a mut Attempt)>) -> Option<Self> {
        let shared = attempts.filter(|(_, attempt)| attempt.parts.is_empty());
        let attempts: HashMap<_, _> =
            shared.map(|(tenant, attempt)| ((tenant.uuid(), attempt.id.uuid()), attempt)).collect();
        if attempts.is_empty() {
            return None;
        }
        let (tenants, ids) = attempts.keys().copied().unzip();
        let times = attempts.values().map(|attempt| attempt.created_at).collect();
        Some(Self { attempts, tenants, ids, times })
    }

    /// The parameters of [`SELECT`].
    pub(crate) fn columns(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.tenants, &self.ids, &self.times]
    }

    /// Gives every attempt its parts.
    pub(crate) fn fill(mut self, found: &[Row]) -> Result<(), DbError> {
        for row in found {
            let of = (row.try_get("tenant_id")?, row.try_get("attempt_id")?);
            let attempt = self.attempts.get_mut(&of).ok_or_else(|| unreadable("attempt_id"))?;
            let part = attempt.parts.len();
            if row.try_get::<_, i32>("part")?.try_into() != Ok(part) {
                return Err(unreadable("part"));
            }
            attempt.parts.push(rows::part(row, NanoUsd(row.try_get("asked_nano_usd")?))?);
            if let Some(refusal) = row.try_get::<_, Option<&str>>("refusal")? {
                let refusal: Refusal = serde_json::from_str(refusal).map_err(|_| unreadable("refusal"))?;
                attempt.refused.push(Refused { part, why: refusal.into() });
            }
        }
        let whole = |attempt: &&mut Attempt| {
            let reserved: i64 = attempt.reserved_parts().map(|part| part.amount.0).sum();
            !attempt.parts.is_empty() && reserved == attempt.reserved.0
        };
        if self.attempts.values().all(whole) { Ok(()) } else { Err(unreadable("reserved_nano_usd")) }
    }
}

/// Writes the parts of those that begin and are shared, together with why some were left out.
pub(crate) async fn insert(
    transaction: &Transaction,
    tenant: TenantId,
    attempts: &[Known<'_>],
) -> Result<(), DbError> {
    let shared = attempts.iter().filter(|known| known.begins.is_some() && known.attempt.parts.len() > 1);
    let parts: Vec<NewPart<'_>> = shared.flat_map(|known| parts_of(&known.attempt)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&Part) -> &str| -> Vec<&str> { parts.iter().map(|new| of(new.part)).collect() };
    let number = |of: fn(&Part) -> i64| -> Vec<i64> { parts.iter().map(|new| of(new.part)).collect() };
    let ids: Vec<_> = parts.iter().map(|new| new.attempt.id.uuid()).collect();
    let times: Vec<_> = parts.iter().map(|new| new.attempt.created_at).collect();
    let positions: Vec<_> = parts.iter().map(|new| new.at).collect();
    let inputs: Vec<_> = parts.iter().map(|new| new.part.inputs).collect();
    let refusals: Vec<_> = parts.iter().map(|new| new.refusal.as_deref()).collect();
    let leases: Vec<_> = parts.iter().map(|new| new.part.lease.map(|id| id.uuid())).collect();
    let sql = "INSERT INTO attempt_parts (tenant_id, attempt_id, created_at, part, request_id, agent_id, key_id, asked_nano_usd,
            tokens_bound, inputs, refusal, lease_id)
        SELECT $1, p.attempt_id, p.created_at, p.part, p.request_id, p.agent_id, p.key_id, p.asked, p.tokens, p.inputs,
            p.refusal::jsonb, p.lease_id
        FROM unnest($2::uuid[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
            $10::int[], $11::text[], $12::uuid[])
            AS p (attempt_id, created_at, part, request_id, agent_id, key_id, asked, tokens, inputs, refusal, lease_id)";
    let written = transaction
        .execute(
            sql,
            &[
                &tenant.uuid(),
                &ids,
                &times,
                &positions,
                &text(|part| part.request.as_str()),
                &text(|part| part.agent.as_str()),
                &text(|part| part.key.as_str()),
                &number(|part| part.amount.0),
                &number(|part| part.tokens_bound),
                &inputs,
                &refusals,
                &leases,
            ],
        )
        .await?;
    super::batch::all(written, parts.len())
}

struct NewPart<'a> {
    attempt: &'a Attempt,
    at: i32,
    part: &'a Part,
    refusal: Option<String>,
}

fn parts_of(attempt: &Attempt) -> impl Iterator<Item = NewPart<'_>> {
    (0_i32..).zip(attempt.parts.iter().enumerate()).map(move |(at, (position, part))| {
        let why = attempt.refused.iter().find(|refused| refused.part == position);
        NewPart { attempt, at, part, refusal: why.map(|refused| Refusal::text(&refused.why)) }
    })
}

/// An error as it is kept.
#[derive(Serialize, Deserialize)]
struct Refusal {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
}

impl Refusal {
    fn text(error: &Error) -> String {
        let refusal = Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            param: error.param.clone(),
            retry_after_ms: error
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            details: error.details.clone(),
        };
        serde_json::json!(refusal).to_string()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code.parse().unwrap_or(Code::Internal);
        Self {
            code,
            message: refusal.message,
            param: refusal.param,
            retry_after: refusal.retry_after_ms.map(Duration::from_millis),
            details: refusal.details,
        }
    }
}
