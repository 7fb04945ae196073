//! Vectors, many at a time, in one round trip.

use std::{collections::BTreeMap, time::Duration};

use fred::{
    clients::Client,
    interfaces::KeysInterface as _,
    types::{Expiration, Key, Value},
};
use futures::future::join_all;

use crate::{Away, Kept, RedisCache, VectorKey, connection::Link, key};

/// Keys of one MGET: an answer of less than 1 MiB, for vectors of 1,536 numbers.
const TOGETHER: usize = 128;
/// Nobody waits for what is put, and a slow write is no reason to leave reads alone.
const PUT_PATIENCE: u32 = 10;
/// Share of a time to live that is added or taken away: what was written together does not expire together.
const JITTER: f64 = 0.15;
/// Redis refuses longer ones.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl RedisCache {
    /// What is kept under each key, in order, in one round trip: one to each node of a cluster. Keys whose node does not answer
    /// count as not kept while another does.
    ///
    /// # Errors
    /// [`Away`], when nothing answers.
    pub async fn get_many(&self, keys: &[VectorKey]) -> Result<Vec<Option<Kept>>, Away> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let link = self.admit(quick)?;
        let client = self.limited(&link.quick, times(keys.len()));
        let groups = groups(keys, link.cluster);
        let answers = join_all(groups.iter().map(|group| {
            let names: Vec<Key> = group.iter().map(|&at| key::of_vector(&keys[at]).into()).collect();
            client.mget::<Vec<Value>, _>(names)
        }))
        .await;
        let mut found = vec![None; keys.len()];
        let mut outcome = Err(Away::Failed);
        for (group, answer) in groups.iter().zip(answers) {
            match answer {
                // an answer of another length is to some other question
                Ok(values) if values.len() == group.len() => {
                    outcome = Ok(());
                    for (&at, value) in group.iter().zip(values) {
                        found[at] = value.into_bytes().and_then(|value| Kept::decode(&keys[at], &value));
                    }
                }
                Ok(_) => {}
                Err(error) => outcome = outcome.or(Err(error.into())),
            }
        }
        self.report(outcome).map(|()| found)
    }

    /// Keeps each vector under its key for about `ttl`, in one round trip. Not all may be kept; nobody can tell, or needs to.
    ///
    /// # Errors
    /// [`Away`], when nothing answers.
    pub async fn put_many(&self, vectors: &[(VectorKey, Kept)], ttl: Duration) -> Result<(), Away> {
        if vectors.is_empty() {
            return Ok(());
        }
        let link = self.admit(|link| &link.bulk)?;
        let outcome = self.put_through(link, vectors, ttl).await;
        self.report(outcome)
    }

    async fn put_through(
        &self,
        link: &Link,
        vectors: &[(VectorKey, Kept)],
        ttl: Duration,
    ) -> Result<(), Away> {
        let client = self.limited(&link.bulk, PUT_PATIENCE * times(vectors.len()));
        let pipeline = client.pipeline();
        for (key, kept) in vectors {
            let value = Value::Bytes(kept.encode(key));
            let expiry = Some(Expiration::PX(expiry_ms(key, ttl)));
            pipeline.set::<(), _, _>(key::of_vector(key), value, expiry, None, false).await?;
        }
        let mut outcome = Err(Away::Failed);
        for answer in pipeline.try_all::<Value>().await {
            match answer {
                Ok(_) => outcome = Ok(()),
                Err(error) => outcome = outcome.or(Err(error.into())),
            }
        }
        outcome
    }
}

const fn quick(link: &Link) -> &Client {
    &link.quick
}

/// How many times the usual time a call for so many keys may take.
fn times(keys: usize) -> u32 {
    u32::try_from(keys.div_ceil(TOGETHER)).unwrap_or(u32::MAX).min(64)
}

/// Places of keys that are asked for in one command: on a cluster the keys of one slot.
fn groups(keys: &[VectorKey], cluster: bool) -> Vec<Vec<usize>> {
    let mut buckets: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (at, key) in keys.iter().enumerate() {
        buckets.entry(if cluster { key::bucket(key) } else { 0 }).or_default().push(at);
    }
    buckets
        .into_values()
        .flat_map(|bucket| bucket.chunks(TOGETHER).map(<[_]>::to_vec).collect::<Vec<_>>())
        .collect()
}

/// `ttl`, give or take the key's own share of the jitter.
fn expiry_ms(key: &VectorKey, ttl: Duration) -> i64 {
    let ttl = ttl.clamp(Duration::from_millis(10), LONGEST).mul_f64(1.0 + JITTER * key::jitter(key));
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use embermesh_vector_key::LENGTH;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(bytes: Vec<u8>) -> VectorKey {
        VectorKey(bytes.try_into().unwrap())
    }

    proptest! {
        #[test]
        fn every_key_is_asked_for_once_and_on_a_cluster_with_keys_of_its_slot(
            keys in vec(vec(any::<u8>(), LENGTH).prop_map(of), 0..400),
            cluster: bool,
        ) {
            let groups = groups(&keys, cluster);
            let mut all: Vec<usize> = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..keys.len()).collect::<Vec<_>>());
            for group in &groups {
                prop_assert!(group.len() <= TOGETHER);
                prop_assert!(!cluster || group.iter().all(|&at| key::bucket(&keys[at]) == key::bucket(&keys[group[0]])));
            }
            prop_assert!(cluster || groups.len() == keys.len().div_ceil(TOGETHER));
        }

        #[test]
        fn expiry_stays_within_its_jitter(key in vec(any::<u8>(), LENGTH), seconds in 1_u64..1_000_000) {
            let ttl = Duration::from_secs(seconds);
            let millis = expiry_ms(&of(key), ttl);
            let share = millis as f64 / ttl.as_millis() as f64;
            prop_assert!((0.849..=1.151).contains(&share), "{}", share);
        }
    }
}
