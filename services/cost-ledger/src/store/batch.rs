//! Many operations in one transaction: read and lock, decide, write, commit. Nothing is answered before the commit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::SystemTime,
};

use embermesh_errors::{Code, Error};
use embermesh_postgres::{DbError, Transaction};
use embermesh_types::{AgentId, AttemptId, NanoUsd, TenantId};
use futures::future::try_join_all;

use super::{
    Store, balances,
    charges::{self, NewCharges},
    rows,
};
use crate::domain::{
    attempt::{Attempt, State},
    balance::BalanceKey,
    books::Books,
    limits::Limits,
    period::day_of,
    work::{Operation, Reserve, Settlement, Work},
};

/// What one operation came to.
pub(crate) type Outcome = Result<(), Error>;

/// Whether a statement wrote what it should have.
pub(crate) fn all(written: u64, expected: usize) -> Result<(), DbError> {
    let written = usize::try_from(written).unwrap_or(usize::MAX);
    if written == expected { Ok(()) } else { Err(DbError::RowCount(written)) }
}

impl Store {
    /// Commits all of `batch`, in which no attempt may be reserved or settled twice. Answers are in the order of the batch;
    /// an error of the database means that nothing was done, except [`DbError::Unavailable`], after which that is unknown.
    /// `limits` says `None` while it does not know any.
    pub(crate) async fn commit(
        &self,
        batch: &[Work],
        limits: impl Fn(TenantId, &AgentId) -> Option<Limits>,
        now: SystemTime,
    ) -> Result<Vec<Outcome>, DbError> {
        let mut tenants: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (at, work) in batch.iter().enumerate() {
            tenants.entry(work.tenant).or_default().push(at);
        }
        let Some(first) = tenants.keys().next() else { return Ok(Vec::new()) };
        // Plans are cached, and those made for an empty table, as a new month's partition is, would go on to read all of a tenant's
        // rows: so each row is looked for by its whole primary key, in lateral joins or statements of its own, and never by a scan.
        let session = self.database.tenant(first.uuid()).with("enable_seqscan", "off").with("jit", "off");
        let transaction = session.begin().await?;
        let mut current = *first;
        let mut outcomes = vec![Ok(()); batch.len()];
        for (tenant, at) in tenants {
            if tenant != current {
                let switch = "SELECT set_config('app.tenant', $1, true)";
                transaction.query(switch, &[&tenant.to_string()]).await?;
                current = tenant;
            }
            let part = TenantPart { transaction: &transaction, tenant, now, batch, at: &at };
            part.commit(&|agent| limits(tenant, agent), &mut outcomes).await?;
        }
        transaction.commit().await?;
        Ok(outcomes)
    }
}

/// The operations of one tenant.
struct TenantPart<'a> {
    transaction: &'a Transaction,
    tenant: TenantId,
    now: SystemTime,
    batch: &'a [Work],
    at: &'a [usize],
}

impl TenantPart<'_> {
    async fn commit(
        &self,
        limits: &impl Fn(&AgentId) -> Option<Limits>,
        outcomes: &mut [Outcome],
    ) -> Result<(), DbError> {
        let held = self.lock_attempts().await?;
        let locked = balances::lock(self.transaction, self.tenant, &self.balance_keys(&held)).await?;
        let mut books = Books::new(locked);
        // reservations first: a caller may have given up on one and void it at once
        let mut reserved = Vec::new();
        for (at, reserve) in self.reserves() {
            outcomes[at] = match held.get(&reserve.attempt) {
                Some(attempt) => same_reservation(attempt, reserve),
                None => {
                    books.reserve(&reserve.agent, reserve.amount, limits(&reserve.agent).as_ref(), self.now)
                }
            };
            if outcomes[at].is_ok() && !held.contains_key(&reserve.attempt) {
                reserved.push(reserve);
            }
        }
        let fresh: HashMap<AttemptId, Attempt> =
            reserved.iter().map(|reserve| (reserve.attempt, self.attempt_of(reserve))).collect();
        let (mut settled, mut charges) = (Vec::new(), NewCharges::default());
        for (at, settlement) in self.settlements() {
            let Some(attempt) = held.get(&settlement.attempt).or_else(|| fresh.get(&settlement.attempt))
            else {
                let message = "no such attempt was reserved, reserve it before it is settled";
                outcomes[at] = Err(Error::not_found(message).with_param("attempt_id"));
                continue;
            };
            outcomes[at] = self.decide_settlement(attempt, settlement).await?;
            if outcomes[at].is_ok() && attempt.state == State::Reserved {
                books.settle(attempt, settlement.amount);
                charges.settle(attempt, settlement);
                settled.push(settlement);
            }
        }
        for at in self.at {
            if let Operation::Hits(hits) = &self.batch[*at].operation {
                hits.iter().for_each(|hit| charges.hit(hit, self.now));
            }
        }
        let deltas = books.into_deltas();
        // they leave together; a failure of any undoes all
        tokio::try_join!(
            async {
                // in this order, because what is reserved here may end here
                self.insert_attempts(&reserved).await?;
                self.end_attempts(&settled).await
            },
            charges.insert(self.transaction, self.tenant),
            balances::add(self.transaction, self.tenant, &deltas),
        )
        .map(drop)
    }

    fn reserves(&self) -> impl Iterator<Item = (usize, &Reserve)> {
        self.at.iter().filter_map(|at| match &self.batch[*at].operation {
            Operation::Reserve(reserve) => Some((*at, reserve)),
            _ => None,
        })
    }

    fn settlements(&self) -> impl Iterator<Item = (usize, &Settlement)> {
        self.at.iter().filter_map(|at| match &self.batch[*at].operation {
            Operation::Settle(settlement) => Some((*at, settlement)),
            _ => None,
        })
    }

    /// Every attempt that the operations name and the books hold.
    async fn lock_attempts(&self) -> Result<HashMap<AttemptId, Attempt>, DbError> {
        let reserves = self.reserves().map(|(_, reserve)| (reserve.attempt.uuid(), reserve.created_at));
        let settlements =
            self.settlements().map(|(_, settlement)| (settlement.attempt.uuid(), settlement.created_at));
        // in one order, and each once
        let asked: BTreeMap<_, _> = reserves.chain(settlements).collect();
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let (ids, times): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let sql = "SELECT a.* FROM unnest($2::uuid[], $3::timestamptz[]) AS asked (attempt_id, created_at),
            LATERAL (SELECT attempt_id, state, agent_id, provider, model, reserved_nano_usd, amount_nano_usd, tokens, day,
                            reserved_at
                     FROM attempts
                     WHERE tenant_id = $1 AND attempt_id = asked.attempt_id AND created_at = asked.created_at
                     FOR UPDATE) AS a";
        let rows = self.transaction.query(sql, &[&self.tenant.uuid(), &ids, &times]).await?;
        rows.iter().map(|row| rows::attempt(row).map(|attempt| (attempt.id, attempt))).collect()
    }

    /// Every balance that may change, whatever is decided.
    fn balance_keys(&self, held: &HashMap<AttemptId, Attempt>) -> BTreeSet<BalanceKey> {
        let today = day_of(self.now);
        let mut keys = BTreeSet::new();
        for (_, reserve) in self.reserves() {
            if reserve.amount > NanoUsd::ZERO && !held.contains_key(&reserve.attempt) {
                keys.extend(BalanceKey::both(&reserve.agent, today));
            }
        }
        for (_, settlement) in self.settlements() {
            if let Some(attempt) = held.get(&settlement.attempt).filter(|held| held.state == State::Reserved)
                && (attempt.reserved > NanoUsd::ZERO || settlement.amount > NanoUsd::ZERO)
            {
                keys.extend(BalanceKey::both(&attempt.agent, attempt.day));
            } else if settlement.amount > NanoUsd::ZERO {
                // one that is reserved in this very batch
                keys.extend(
                    settlement.charges.iter().flat_map(|charge| BalanceKey::both(&charge.agent, today)),
                );
            }
        }
        keys
    }

    async fn decide_settlement(
        &self,
        attempt: &Attempt,
        settlement: &Settlement,
    ) -> Result<Outcome, DbError> {
        if let Some(at) = settlement.charges.iter().position(|charge| charge.agent != attempt.agent) {
            let message = "a charge must be to the agent whose budget was reserved";
            return Ok(Err(Error::invalid(format!("charges[{at}].agent_id"), message)));
        }
        if attempt.state == State::Reserved {
            if settlement.amount > attempt.reserved {
                // the provider's word decides; the bound was wrong
                let (reserved, amount) = (attempt.reserved.0, settlement.amount.0);
                tracing::error!(attempt = %attempt.id, reserved, amount, "an attempt cost more than its bound");
            }
            return Ok(Ok(()));
        }
        if settlement.swept {
            return Ok(Ok(()));
        }
        let mut charges = settlement.charges.clone();
        charges.sort();
        let equal = attempt.state == settlement.outcome
            && attempt.amount == Some(settlement.amount)
            && attempt.tokens == Some(settlement.tokens)
            && charges::of(self.transaction, attempt).await? == charges;
        if equal {
            return Ok(Ok(()));
        }
        let (state, outcome) = (attempt.state.as_str(), settlement.outcome.as_str());
        tracing::error!(attempt = %attempt.id, state, outcome, "an attempt was settled again with other values");
        let message = format!("the attempt is {state} already, with other values");
        Ok(Err(Error::new(Code::Conflict, message).with_param("attempt_id").with_detail("state", state)))
    }

    /// The row that a reservation is about to become.
    fn attempt_of(&self, reserve: &Reserve) -> Attempt {
        Attempt {
            id: reserve.attempt,
            state: State::Reserved,
            agent: reserve.agent.clone(),
            provider: reserve.provider.clone(),
            model: reserve.model.clone(),
            reserved: reserve.amount,
            amount: None,
            tokens: None,
            day: day_of(self.now),
            reserved_at: self.now,
        }
    }

    async fn insert_attempts(&self, new: &[&Reserve]) -> Result<(), DbError> {
        if new.is_empty() {
            return Ok(());
        }
        let column =
            |of: fn(&Reserve) -> &str| -> Vec<&str> { new.iter().map(|reserve| of(reserve)).collect() };
        let number =
            |of: fn(&Reserve) -> i64| -> Vec<i64> { new.iter().map(|reserve| of(reserve)).collect() };
        let ids: Vec<_> = new.iter().map(|reserve| reserve.attempt.uuid()).collect();
        let times: Vec<_> = new.iter().map(|reserve| reserve.created_at).collect();
        let sql = "INSERT INTO attempts (tenant_id, attempt_id, created_at, agent_id, key_id, request_id, provider, deployment,
                model, space_id, reserved_nano_usd, tokens_bound, price_per_million_nano_usd, state, day, reserved_at)
            SELECT $1, a.*, 'reserved', $14::date, $15::timestamptz
            FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::text[], $11::bigint[], $12::bigint[], $13::bigint[]) AS a";
        let written = self
            .transaction
            .execute(
                sql,
                &[
                    &self.tenant.uuid(),
                    &ids,
                    &times,
                    &column(|reserve| reserve.agent.as_str()),
                    &column(|reserve| reserve.key.as_str()),
                    &column(|reserve| reserve.request.as_str()),
                    &column(|reserve| &reserve.provider),
                    &column(|reserve| &reserve.deployment),
                    &column(|reserve| &reserve.model),
                    &column(|reserve| reserve.space.as_str()),
                    &number(|reserve| reserve.amount.0),
                    &number(|reserve| reserve.tokens_bound),
                    &number(|reserve| reserve.price.0),
                    &day_of(self.now),
                    &self.now,
                ],
            )
            .await?;
        all(written, new.len())
    }

    async fn end_attempts(&self, ended: &[&Settlement]) -> Result<(), DbError> {
        let sql = "UPDATE attempts SET state = $4, amount_nano_usd = $5, tokens = $6, settled_at = $7
                   WHERE tenant_id = $1 AND attempt_id = $2 AND created_at = $3 AND state = 'reserved'";
        let tenant = self.tenant.uuid();
        let end = async |settlement: &Settlement| {
            let (id, state) = (settlement.attempt.uuid(), settlement.outcome.as_str());
            let (amount, tokens) = (settlement.amount.0, settlement.tokens);
            let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 7] =
                [&tenant, &id, &settlement.created_at, &state, &amount, &tokens, &self.now];
            all(self.transaction.execute(sql, &parameters).await?, 1)
        };
        try_join_all(ended.iter().map(|settlement| end(settlement))).await.map(drop)
    }
}

fn same_reservation(attempt: &Attempt, reserve: &Reserve) -> Outcome {
    // the money is free again, so "ok" would let a call pass that no budget pays for
    if attempt.state == State::Voided {
        let message = "the attempt was voided, reserve under a new id";
        return Err(Error::new(Code::Conflict, message).with_param("attempt_id"));
    }
    let same = attempt.agent == reserve.agent
        && attempt.reserved == reserve.amount
        && attempt.provider == reserve.provider
        && attempt.model == reserve.model;
    if same {
        return Ok(());
    }
    tracing::error!(attempt = %attempt.id, "an attempt was reserved again with other values");
    Err(Error::new(Code::Conflict, "the attempt was reserved with other values").with_param("attempt_id"))
}
