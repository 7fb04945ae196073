//! Answers under idempotency keys.
//!
//! Nothing is locked while a call works on its answer: the entry of its key says until when it is the call's. Whoever dies with a key
//! in hand is overtaken then, and finds out by its holder's id if it lives after all.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use bytes::Bytes;
use embermesh_errors::Error;
use embermesh_postgres::{DbError, types::ToSql};
use embermesh_types::RequestId;
use uuid::Uuid;

use super::{Owner, Store};
use crate::{
    domain::answer::{Begin, Claim, Finished, Scope},
    error::of_database,
};

/// Entries that one expiry statement removes; each may be megabytes.
const EXPIRY_BATCH: i64 = 1_000;
/// A lost conflict or connection: everything is repeated, which the holder's id makes safe.
const ATTEMPTS: u32 = 4;
/// How often a key is asked for that was neither free nor there: it was given back in between.
const ROUNDS: u32 = 4;

/// Whether an entry keeps nobody from its key: it is a day old, its call is dead or is the one that asks, or a row that its answer
/// names is gone. $5 is now, $6 a day ago, $7 who asks.
const FREE: &str = "a.created_at <= $6
    OR a.answer IS NULL AND (a.locked_until <= $5 OR a.holder = $7)
    OR EXISTS (SELECT FROM unnest(a.embedding_ids) AS named(id) WHERE NOT EXISTS (
        SELECT FROM embedding_keys k WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = named.id))";

/// An entry of a key.
enum Entry {
    Free,
    /// The hash of its body, and the answer if there is one.
    Held(Vec<u8>, Option<Bytes>),
}

/// How a key stands after it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was free.
    Taken,
    Answered(Bytes),
    /// Another call holds it.
    InFlight,
    OtherBody,
}

impl Store {
    /// How the call's own key stands, and unless that was not free, how those of its parts do.
    pub(crate) async fn begin(
        &self,
        scope: &Scope,
        begin: &Begin,
    ) -> Result<(Option<Standing>, Vec<Standing>), Error> {
        let _timer = self.metrics.query("begin");
        let call = match &begin.call {
            Some(call) => {
                let own = std::slice::from_ref(call);
                self.claim(scope, own, begin).await.map_err(of_database)?.pop()
            }
            None => None,
        };
        if call.as_ref().is_some_and(|standing| *standing != Standing::Taken) {
            return Ok((call, Vec::new()));
        }
        Ok((call, self.claim(scope, &begin.parts, begin).await.map_err(of_database)?))
    }

    /// Keeps answers and gives keys back; returns the keys whose answers were not kept because they are another call's by now.
    pub(crate) async fn finish(
        &self,
        scope: &Scope,
        holder: Uuid,
        finished: &[Finished],
    ) -> Result<Vec<RequestId>, Error> {
        let _timer = self.metrics.query("finish");
        let mut attempt = 1;
        loop {
            match self.finish_once(scope, holder, finished).await {
                Err(error) if is_worth_repeating(&error) && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(of_database),
            }
        }
    }

    /// Removes the entries of all tenants that are too old; returns how many.
    pub(crate) async fn expire_answers(&self) -> Result<u64, DbError> {
        let before: SystemTime = self.request_expiry();
        let sql = "DELETE FROM answers WHERE (tenant_id, shard_key, agent_id, key) IN (
            SELECT tenant_id, shard_key, agent_id, key FROM answers WHERE created_at <= $1 LIMIT $2)";
        let mut total = 0;
        loop {
            let expired = self.pools.owner.system().execute(sql, &[&before, &EXPIRY_BATCH]).await?;
            total += expired;
            if expired < EXPIRY_BATCH.unsigned_abs() {
                return Ok(total);
            }
        }
    }

    async fn claim(&self, scope: &Scope, claims: &[Claim], begin: &Begin) -> Result<Vec<Standing>, DbError> {
        let mut standings: HashMap<&str, Standing> = HashMap::with_capacity(claims.len());
        let mut open: Vec<&Claim> = claims.iter().collect();
        // every call takes its keys in the same order, so that none waits for one that waits for it
        open.sort_by_key(|claim| claim.key.as_str());
        let (mut attempt, mut round) = (1, 0);
        while !open.is_empty() && round < ROUNDS {
            match self.claim_once(scope, &open, begin).await {
                Err(error) if is_worth_repeating(&error) && attempt < ATTEMPTS => attempt += 1,
                outcome => {
                    standings.extend(outcome?);
                    round += 1;
                }
            }
            open.retain(|claim| !standings.contains_key(claim.key.as_str()));
        }
        // a key that was another call's each time it was asked for
        let standing = |claim: &Claim| standings.remove(claim.key.as_str()).unwrap_or(Standing::InFlight);
        Ok(claims.iter().map(standing).collect())
    }

    /// How keys stand. Left out is what was given back, or taken by somebody else, just now.
    async fn claim_once<'c>(
        &self,
        scope: &Scope,
        claims: &[&'c Claim],
        begin: &Begin,
    ) -> Result<Vec<(&'c str, Standing)>, DbError> {
        let now = self.clock.now();
        let mut taken = self.enter(scope, claims, begin, now).await?;
        let known: Vec<&Claim> =
            claims.iter().copied().filter(|claim| !taken.contains(claim.key.as_str())).collect();
        if known.is_empty() {
            return Ok(claims.iter().map(|claim| (claim.key.as_str(), Standing::Taken)).collect());
        }
        let found = self.look(scope, &known, begin, now).await?;
        let free = |claim: &&Claim| matches!(found.get(claim.key.as_str()), Some(Entry::Free));
        let free: Vec<&Claim> = known.into_iter().filter(free).collect();
        if !free.is_empty() {
            taken.extend(self.overtake(scope, &free, begin, now).await?);
        }
        let standing = |claim: &&'c Claim| {
            let key = claim.key.as_str();
            let standing = match found.get(key) {
                _ if taken.contains(key) => Standing::Taken,
                Some(Entry::Held(hash, answer)) => standing(claim, hash, answer.as_ref()),
                Some(Entry::Free) | None => return None,
            };
            Some((key, standing))
        };
        Ok(claims.iter().filter_map(standing).collect())
    }

    /// Enters the keys that nobody has used; returns them. Whoever comes second waits for nobody and writes nothing.
    async fn enter(
        &self,
        scope: &Scope,
        claims: &[&Claim],
        begin: &Begin,
        now: SystemTime,
    ) -> Result<HashSet<String>, DbError> {
        let sql = "INSERT INTO answers
                (tenant_id, shard_key, agent_id, key, body_hash, holder, created_at, locked_until, embedding_ids)
            SELECT $1, $2, $3, u.key, u.body_hash, $4, $5, $6, '{}'
            FROM unnest($7::text[], $8::bytea[]) AS u(key, body_hash)
            ON CONFLICT (tenant_id, shard_key, agent_id, key) DO NOTHING
            RETURNING key";
        let owner = Owner::of(scope.tenant);
        let (keys, hashes) = columns(claims);
        let until = now + begin.hold;
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&owner.tenant, &owner.shard, &scope.agent, &begin.holder, &now, &until, &keys, &hashes];
        let entered = self.session(owner).execute_returning(sql, &parameters).await?;
        entered.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// What keys stand for that somebody has used. Has to be a statement of its own: that of [`Store::enter`] began before the
    /// entries it met were committed, so it cannot see them.
    async fn look(
        &self,
        scope: &Scope,
        claims: &[&Claim],
        begin: &Begin,
        now: SystemTime,
    ) -> Result<HashMap<String, Entry>, DbError> {
        let sql = format!(
            "SELECT a.key, {FREE} AS is_free, a.body_hash, a.answer FROM answers a
            WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.agent_id = $3 AND a.key = ANY($4)"
        );
        let owner = Owner::of(scope.tenant);
        let (keys, _) = columns(claims);
        let expiry = self.request_expiry();
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&owner.tenant, &owner.shard, &scope.agent, &keys, &now, &expiry, &begin.holder];
        let rows = self.session(owner).query(&sql, &parameters).await?;
        rows.iter()
            .map(|row| {
                let answer: Option<Vec<u8>> = row.try_get(3)?;
                let entry = if row.try_get(1)? {
                    Entry::Free
                } else {
                    Entry::Held(row.try_get(2)?, answer.map(Bytes::from))
                };
                Ok((row.try_get(0)?, entry))
            })
            .collect()
    }

    /// Takes keys that were found free, unless somebody was faster; returns those that were taken.
    async fn overtake(
        &self,
        scope: &Scope,
        claims: &[&Claim],
        begin: &Begin,
        now: SystemTime,
    ) -> Result<HashSet<String>, DbError> {
        let sql = format!(
            "UPDATE answers a
            SET body_hash = u.body_hash, holder = $7, created_at = $5, locked_until = $8, answer = NULL,
                embedding_ids = '{{}}'
            FROM unnest($4::text[], $9::bytea[]) AS u(key, body_hash)
            WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.agent_id = $3 AND a.key = u.key AND ({FREE})
            RETURNING a.key"
        );
        let owner = Owner::of(scope.tenant);
        let (keys, hashes) = columns(claims);
        let (until, expiry) = (now + begin.hold, self.request_expiry());
        let parameters: [&(dyn ToSql + Sync); 9] =
            [&owner.tenant, &owner.shard, &scope.agent, &keys, &now, &expiry, &begin.holder, &until, &hashes];
        let taken = self.session(owner).execute_returning(&sql, &parameters).await?;
        taken.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn finish_once(
        &self,
        scope: &Scope,
        holder: Uuid,
        finished: &[Finished],
    ) -> Result<Vec<RequestId>, DbError> {
        let sql = "WITH kept AS (
                UPDATE answers a
                SET answer = u.answer, embedding_ids = string_to_array(u.embedding_ids, ',')::uuid[]
                FROM unnest($5::text[], $6::bytea[], $7::text[]) AS u(key, answer, embedding_ids)
                WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.agent_id = $3 AND a.key = u.key AND a.holder = $4
                RETURNING a.key
            ), freed AS (
                DELETE FROM answers a
                WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.agent_id = $3 AND a.key = ANY($8)
                    AND a.holder = $4 AND a.answer IS NULL
            )
            SELECT key FROM kept";
        let owner = Owner::of(scope.tenant);
        let (mut keys, mut answers, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        let mut freed = Vec::new();
        for one in finished {
            match &one.answer {
                Some(answer) => {
                    keys.push(one.key.as_str());
                    answers.push(answer.as_ref());
                    // an array of arrays of different lengths does not exist
                    let named: Vec<String> = one.embedding_ids.iter().map(ToString::to_string).collect();
                    ids.push(named.join(","));
                }
                None => freed.push(one.key.as_str()),
            }
        }
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&owner.tenant, &owner.shard, &scope.agent, &holder, &keys, &answers, &ids, &freed];
        let kept = self.session(owner).execute_returning(sql, &parameters).await?;
        let kept = kept.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
        let lost = finished.iter().filter(|one| one.answer.is_some() && !kept.contains(one.key.as_str()));
        Ok(lost.map(|one| one.key.clone()).collect())
    }
}

fn columns<'c>(claims: &[&'c Claim]) -> (Vec<&'c str>, Vec<&'c [u8]>) {
    claims.iter().map(|claim| (claim.key.as_str(), claim.body_hash.as_slice())).unzip()
}

fn standing(claim: &Claim, hash: &[u8], answer: Option<&Bytes>) -> Standing {
    match answer {
        _ if hash != claim.body_hash => Standing::OtherBody,
        Some(answer) => Standing::Answered(answer.clone()),
        None => Standing::InFlight,
    }
}

fn is_worth_repeating(error: &DbError) -> bool {
    matches!(error, DbError::Conflict(_) | DbError::StalePlan | DbError::Unavailable(_))
}
