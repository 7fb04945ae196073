//! Puts the vectors of stored rows into Redis, under the keys that a router will look for.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use embermesh_cache::{Facts, Kept, VectorKey};
use embermesh_errors::Error;
use embermesh_proto::internal::v1::StoreRow;
use embermesh_types::{Consistency, EmbeddingId, TenantId};
use embermesh_vector_key::KeyMaker;
use tokio::time::{Instant, sleep};

use super::{AGAIN, PATIENCE, Run, Stop, Worker};
use crate::{
    domain::{filter::Filter, job::Warm, unit_length},
    store::Shelf,
};

/// Rows that are read and put together.
const TOGETHER: u32 = 256;

impl Worker {
    pub(super) async fn warm(&self, run: &mut Run<'_>, warm: &Warm) -> Result<Option<String>, Stop> {
        if !self.redis.is_configured() {
            return Err(Stop::Failed("redis is not configured, there is nothing to warm".to_owned()));
        }
        let tenant = TenantId::new(warm.tenant);
        let filter = Filter {
            agent: warm.agent.as_ref().and_then(|agent| agent.parse().ok()),
            space: warm.space.as_ref().and_then(|space| space.parse().ok()),
            ..Filter::default()
        };
        let shelves = self.store.shelves(tenant, &filter, warm.rows_per_agent).await?;
        let total = shelves.iter().map(|shelf| shelf.rows).sum();
        run.tell(|progress| progress.total = Some(total)).await?;
        let models: HashMap<&str, bool> =
            warm.models.iter().map(|(id, distinguishes)| (id.as_str(), *distinguishes)).collect();
        let mut left_out = 0;
        for shelf in &shelves {
            left_out += self.warm_shelf(run, warm, &models, shelf).await?;
        }
        Ok((left_out > 0)
            .then(|| format!("{left_out} rows were left out: of models that are not in the catalog any more, or with the vector of a beginning")))
    }

    /// Rows that were left out.
    async fn warm_shelf(
        &self,
        run: &mut Run<'_>,
        warm: &Warm,
        models: &HashMap<&str, bool>,
        shelf: &Shelf,
    ) -> Result<u64, Stop> {
        let tenant = TenantId::new(warm.tenant);
        let of =
            Filter { agent: shelf.agent.parse().ok(), space: Some(shelf.space.clone()), ..Filter::default() };
        let (mut left, mut left_out) = (warm.rows_per_agent, 0);
        let mut taken: HashSet<EmbeddingId> = HashSet::new();
        if warm.most_used {
            let ids = self.store.most_used(tenant, shelf, left).await?;
            for ids in ids.chunks(TOGETHER as usize) {
                let some = Filter { ids: ids.to_vec(), ..of.clone() };
                let (rows, _) = self
                    .store
                    .list(tenant, Consistency::PRIMARY, &some, TOGETHER, "", true)
                    .await
                    .map_err(failed)?;
                left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
                left_out += self.put(run, warm, models, shelf, &rows).await?;
                taken.extend(ids);
            }
        }
        let mut page = String::new();
        while left > 0 {
            let (mut rows, next) = self
                .store
                .list(tenant, Consistency::PRIMARY, &of, TOGETHER, &page, true)
                .await
                .map_err(failed)?;
            rows.retain(|row| row.embedding_id.parse().is_ok_and(|id| !taken.contains(&id)));
            rows.truncate(left as usize);
            left -= u32::try_from(rows.len()).unwrap_or(left).min(left);
            left_out += self.put(run, warm, models, shelf, &rows).await?;
            if next.is_empty() {
                break;
            }
            page = next;
        }
        Ok(left_out)
    }

    /// Puts some rows, and waits for Redis if it is away.
    async fn put(
        &self,
        run: &mut Run<'_>,
        warm: &Warm,
        models: &HashMap<&str, bool>,
        shelf: &Shelf,
        rows: &[StoreRow],
    ) -> Result<u64, Stop> {
        if rows.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let tenant = TenantId::new(warm.tenant);
        let ids: Vec<&str> = rows.iter().map(|row| row.embedding_id.as_str()).collect();
        let truncated = self.store.truncated(tenant, &shelf.space, &ids).await.map_err(failed)?;
        let new: Vec<(VectorKey, Kept)> = rows
            .iter()
            .filter(|row| !truncated.contains(&row.embedding_id))
            .filter_map(|row| entry(row, warm, models, now))
            .collect();
        let ttl = warm.ttl_seconds.map_or(self.ttl, Duration::from_secs);
        let since = Instant::now();
        loop {
            let put = async {
                let keys: Vec<VectorKey> = new.iter().map(|(key, _)| *key).collect();
                let there = self.redis.get_many(&keys).await?;
                let vectors: Vec<_> = new
                    .iter()
                    .zip(there)
                    .map(|((key, kept), there)| (*key, renewed(kept, there, warm)))
                    .collect();
                self.redis.put_many(&vectors, ttl).await
            };
            match put.await {
                Ok(()) => break,
                Err(away) if since.elapsed() > PATIENCE => return Err(Stop::Failed(away.to_string())),
                Err(_) => {
                    sleep(AGAIN).await;
                    run.tell(|_| {}).await?;
                }
            }
        }
        let left_out = (rows.len() - new.len()) as u64;
        run.tell(|progress| {
            progress.done += rows.len() as u64;
            progress.changed += new.len() as u64;
        })
        .await?;
        Ok(left_out)
    }
}

/// What is kept for the text of a row; nothing, when its model is not known any more.
fn entry(
    row: &StoreRow,
    warm: &Warm,
    models: &HashMap<&str, bool>,
    now: SystemTime,
) -> Option<(VectorKey, Kept)> {
    let distinguishes = *models.get(row.model.as_str())?;
    let input_type = if distinguishes { row.input_type.as_str() } else { "" };
    let key = KeyMaker::new(warm.tenant.as_bytes(), &row.space_id, input_type).key(&row.content);
    let made = row.created_at.as_ref().and_then(|at| SystemTime::try_from(*at).ok())?;
    let facts = Facts {
        tokens: row.tokens,
        deployment: row.provider.clone(),
        made_unix_ms: millis(made),
        kept_unix_ms: millis(now),
        stamp: warm.stamp,
    };
    Some((key, Kept::new(unit_length::restored(&row.vector), facts).ok()?))
}

/// An entry that is there and was not cleared has the vector as the provider gave it, which a row may have rounded: it only begins anew.
fn renewed(row: &Kept, there: Option<Kept>, warm: &Warm) -> Kept {
    let there = there.filter(|there| there.facts().stamp >= warm.cleared);
    let again = there.and_then(|there| {
        let Facts { kept_unix_ms, stamp, .. } = row.facts();
        let facts = Facts { kept_unix_ms: *kept_unix_ms, stamp: *stamp, ..there.facts().clone() };
        Kept::new(there.vector().clone(), facts).ok()
    });
    again.unwrap_or_else(|| row.clone())
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn failed(error: Error) -> Stop {
    Stop::Failed(error.message)
}
