//! Charges: what attempts and hits come to for each request.

use std::time::{Duration, SystemTime};

use embermesh_postgres::{DbError, Transaction};
use embermesh_types::{NanoUsd, TenantId};
use jiff::civil::Date;
use uuid::{NoContext, Timestamp, Uuid};

use super::rows::parsed;
use crate::domain::{
    attempt::{Attempt, State},
    period::day_of,
    work::{Charge, Hit, Settlement},
};

/// Rows to insert, by column.
#[derive(Default)]
pub(crate) struct NewCharges<'a> {
    ids: Vec<Uuid>,
    times: Vec<SystemTime>,
    days: Vec<Date>,
    attempts: Vec<Option<Uuid>>,
    requests: Vec<&'a str>,
    agents: Vec<&'a str>,
    keys: Vec<&'a str>,
    providers: Vec<&'a str>,
    models: Vec<&'a str>,
    tokens: Vec<i64>,
    inputs: Vec<i32>,
    amounts: Vec<i64>,
    saved: Vec<i64>,
    presumed: Vec<bool>,
}

impl<'a> NewCharges<'a> {
    /// The charges of an attempt. They bear its time, so that a report of a day is the sum of what that day's budget paid.
    pub(crate) fn settle(&mut self, attempt: &'a Attempt, settlement: &'a Settlement) {
        for charge in &settlement.charges {
            self.row(attempt.reserved_at, attempt.day, Some(attempt.id.uuid()));
            self.request(charge.request.as_str(), charge.agent.as_str(), charge.key.as_str());
            self.providers.push(&attempt.provider);
            self.models.push(&attempt.model);
            self.tokens.push(charge.tokens);
            self.inputs.push(charge.inputs);
            self.amounts.push(charge.amount.0);
            self.saved.push(0);
            self.presumed.push(settlement.outcome == State::Presumed);
        }
    }

    /// A cache hit.
    pub(crate) fn hit(&mut self, hit: &'a Hit, now: SystemTime) {
        self.row(now, day_of(now), None);
        self.request(hit.request.as_str(), hit.agent.as_str(), hit.key.as_str());
        self.providers.push(&hit.provider);
        self.models.push(&hit.model);
        self.tokens.push(hit.tokens);
        self.inputs.push(hit.inputs);
        self.amounts.push(0);
        self.saved.push(hit.saved.0);
        self.presumed.push(false);
    }

    fn row(&mut self, time: SystemTime, day: Date, attempt: Option<Uuid>) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.ids.push(Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos())));
        self.times.push(time);
        self.days.push(day);
        self.attempts.push(attempt);
    }

    fn request(&mut self, request: &'a str, agent: &'a str, key: &'a str) {
        self.requests.push(request);
        self.agents.push(agent);
        self.keys.push(key);
    }

    pub(crate) async fn insert(&self, transaction: &Transaction, tenant: TenantId) -> Result<(), DbError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO charges (tenant_id, charge_id, created_at, day, attempt_id, request_id, agent_id, key_id,
                provider, model, tokens, inputs, amount_nano_usd, saved_nano_usd, presumed)
            SELECT $1, c.* FROM unnest($2::uuid[], $3::timestamptz[], $4::date[], $5::uuid[], $6::text[], $7::text[],
                $8::text[], $9::text[], $10::text[], $11::bigint[], $12::int[], $13::bigint[], $14::bigint[],
                $15::bool[]) AS c";
        let written = transaction
            .execute(
                sql,
                &[
                    &tenant.uuid(),
                    &self.ids,
                    &self.times,
                    &self.days,
                    &self.attempts,
                    &self.requests,
                    &self.agents,
                    &self.keys,
                    &self.providers,
                    &self.models,
                    &self.tokens,
                    &self.inputs,
                    &self.amounts,
                    &self.saved,
                    &self.presumed,
                ],
            )
            .await?;
        super::batch::all(written, self.ids.len())
    }
}

/// The charges that an attempt was settled with, sorted.
pub(crate) async fn of(transaction: &Transaction, attempt: &Attempt) -> Result<Vec<Charge>, DbError> {
    let sql = "SELECT request_id, agent_id, key_id, tokens, amount_nano_usd, inputs FROM charges
               WHERE created_at = $1 AND attempt_id = $2";
    let rows = transaction.query(sql, &[&attempt.reserved_at, &attempt.id.uuid()]).await?;
    let mut charges = rows
        .iter()
        .map(|row| {
            Ok(Charge {
                request: parsed(row, "request_id")?,
                agent: parsed(row, "agent_id")?,
                key: parsed(row, "key_id")?,
                tokens: row.try_get("tokens")?,
                amount: NanoUsd(row.try_get("amount_nano_usd")?),
                inputs: row.try_get("inputs")?,
            })
        })
        .collect::<Result<Vec<_>, DbError>>()?;
    charges.sort();
    Ok(charges)
}
