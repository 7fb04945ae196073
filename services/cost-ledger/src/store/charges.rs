//! Charges: what attempts and hits come to for each request.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use embermesh_escrow::day_of;
use embermesh_postgres::{DbError, Transaction, types::ToSql};
use embermesh_types::{AttemptId, NanoUsd, TenantId};
use jiff::civil::Date;
use uuid::{NoContext, Timestamp, Uuid};

use super::rows::parsed;
use crate::domain::{
    attempt::{Attempt, State},
    books::Known,
    hit::Hit,
    settlement::{Charge, Settlement},
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
    /// Everything that attempts which end come to.
    pub(crate) fn of(attempts: &'a [Known<'_>]) -> Self {
        let mut charges = Self::default();
        for known in attempts {
            if let Some(settlement) = &known.ends {
                charges.settle(&known.attempt, settlement);
            }
        }
        charges
    }

    /// The charges of an attempt. They bear its time, so that a report of a day is the sum of what that day's budget paid.
    fn settle(&mut self, attempt: &'a Attempt, settlement: &'a Settlement) {
        for charge in &settlement.charges {
            let since = attempt.reserved_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            let time = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
            self.row(Uuid::new_v7(time), attempt.reserved_at, attempt.day);
            self.attempts.push(Some(attempt.id.uuid()));
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

    /// Cache hits.
    pub(crate) fn hits(hits: &[&'a Hit]) -> Self {
        let mut charges = Self::default();
        for hit in hits {
            charges.row(hit.id, hit.at, day_of(hit.at));
            charges.attempts.push(None);
            charges.request(hit.request.as_str(), hit.agent.as_str(), hit.key.as_str());
            charges.providers.push(&hit.provider);
            charges.models.push(&hit.model);
            charges.tokens.push(hit.tokens);
            charges.inputs.push(hit.inputs);
            charges.amounts.push(0);
            charges.saved.push(hit.saved.0);
            charges.presumed.push(false);
        }
        charges
    }

    fn row(&mut self, id: Uuid, time: SystemTime, day: Date) {
        self.ids.push(id);
        self.times.push(time);
        self.days.push(day);
    }

    fn request(&mut self, request: &'a str, agent: &'a str, key: &'a str) {
        self.requests.push(request);
        self.agents.push(agent);
        self.keys.push(key);
    }

    /// Inserts all of them.
    pub(crate) async fn insert(&self, transaction: &Transaction, tenant: TenantId) -> Result<(), DbError> {
        let written = self.write(transaction, tenant, INSERT).await?;
        super::batch::all(written, self.ids.len())
    }

    /// Inserts those that are not there yet. Fine for hits, whose ids their routers make: what comes again is the same.
    pub(crate) async fn insert_new(
        &self,
        transaction: &Transaction,
        tenant: TenantId,
    ) -> Result<(), DbError> {
        self.write(transaction, tenant, &format!("{INSERT} ON CONFLICT DO NOTHING")).await.map(drop)
    }

    async fn write(&self, transaction: &Transaction, tenant: TenantId, sql: &str) -> Result<u64, DbError> {
        if self.ids.is_empty() {
            return Ok(0);
        }
        let parameters: [&(dyn ToSql + Sync); 15] = [
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
        ];
        transaction.execute(sql, &parameters).await
    }
}

const INSERT: &str = "INSERT INTO charges (tenant_id, charge_id, created_at, day, attempt_id, request_id, agent_id, key_id,
        provider, model, tokens, inputs, amount_nano_usd, saved_nano_usd, presumed)
    SELECT $1, c.* FROM unnest($2::uuid[], $3::timestamptz[], $4::date[], $5::uuid[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::bigint[], $12::int[], $13::bigint[], $14::bigint[], $15::bool[]) AS c";

/// The charges that attempts were settled with, each attempt's sorted.
pub(crate) async fn of(
    transaction: &Transaction,
    tenant: TenantId,
    attempts: &[&Attempt],
) -> Result<HashMap<AttemptId, Vec<Charge>>, DbError> {
    let mut found: HashMap<AttemptId, Vec<Charge>> = HashMap::new();
    if attempts.is_empty() {
        return Ok(found);
    }
    let sql = "SELECT c.* FROM unnest($2::uuid[], $3::timestamptz[]) AS asked (attempt_id, created_at),
        LATERAL (SELECT attempt_id, request_id, agent_id, key_id, tokens, amount_nano_usd, inputs FROM charges
                 WHERE tenant_id = $1 AND created_at = asked.created_at AND attempt_id = asked.attempt_id
                 -- keeps it a look-up for each
                 OFFSET 0) AS c";
    let ids: Vec<_> = attempts.iter().map(|attempt| attempt.id.uuid()).collect();
    let times: Vec<_> = attempts.iter().map(|attempt| attempt.reserved_at).collect();
    for row in &transaction.query(sql, &[&tenant.uuid(), &ids, &times]).await? {
        let charge = Charge {
            request: parsed(row, "request_id")?,
            agent: parsed(row, "agent_id")?,
            key: parsed(row, "key_id")?,
            tokens: row.try_get("tokens")?,
            amount: NanoUsd(row.try_get("amount_nano_usd")?),
            inputs: row.try_get("inputs")?,
        };
        found.entry(AttemptId::new(row.try_get("attempt_id")?)).or_default().push(charge);
    }
    found.values_mut().for_each(|charges| charges.sort());
    Ok(found)
}
