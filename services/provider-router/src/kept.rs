//! Vectors that all routers share, in Redis behind vector-store. Nobody waits for it when it is away: it only saves calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use embermesh_proto::internal::v1::{
    GetVectorsRequest, KeptVector, PutVector, PutVectorsRequest, vector_cache_client::VectorCacheClient,
};
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use embermesh_types::TokenCount;
use futures::future::join_all;
use tonic::{Request, Status};

use crate::cache::{Cached, Key};

/// Keys of one call: no batch has more, and their vectors fit into a message.
const TOGETHER: usize = 1_024;
/// How long an answer is worth waiting for; vector-store itself gives Redis less.
const PATIENCE: Duration = Duration::from_millis(100);
/// Nobody waits for what is put.
const PUT_PATIENCE: Duration = Duration::from_secs(2);
/// How long it is left alone when it is away.
const REST: Duration = Duration::from_secs(1);
/// And when not even vector-store answers: at first it may only be slow, so each silence in a row doubles the rest, up to the longest.
const SHORT_REST: Duration = Duration::from_millis(200);
const LONG_REST: Duration = Duration::from_secs(5);

/// The tier of vectors in Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    client: VectorCacheClient<Transport>,
    started: Instant,
    /// Milliseconds since `started` until which it counts as away.
    away_until: Arc<AtomicU64>,
    /// How often in a row vector-store did not answer.
    silences: Arc<AtomicU32>,
}

impl Kept {
    /// Over the transport to vector-store.
    pub fn new(store: Transport) -> Self {
        let client = VectorCacheClient::new(store)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, started: Instant::now(), away_until: Arc::default(), silences: Arc::default() }
    }

    /// Whether it makes sense to ask now.
    pub fn is_there(&self) -> bool {
        self.millis() >= self.away_until.load(Ordering::Relaxed)
    }

    /// What is kept under each key, in order; nothing while it is away.
    pub async fn get(&self, keys: &[Key]) -> Vec<Option<Cached>> {
        let answers = join_all(keys.chunks(TOGETHER).map(|some| self.get_some(some))).await;
        answers.concat()
    }

    /// Keeps each vector for about `ttl`, or does not.
    pub async fn put(&self, vectors: Vec<(Key, Cached)>, ttl: Duration) {
        for some in vectors.chunks(TOGETHER) {
            if !self.is_there() {
                return;
            }
            let vectors = some.iter().map(|(key, cached)| message(key, cached)).collect();
            let request =
                limited(PutVectorsRequest { vectors, ttl_seconds: ttl.as_secs().max(1) }, PUT_PATIENCE);
            let reply = self.client.clone().put_vectors(request).await;
            self.heard(reply.map(|reply| reply.into_inner().away));
        }
    }

    async fn get_some(&self, keys: &[Key]) -> Vec<Option<Cached>> {
        let asked = keys.iter().map(|key| Bytes::copy_from_slice(&key.0)).collect();
        let request = limited(GetVectorsRequest { keys: asked }, PATIENCE);
        let found = match self.client.clone().get_vectors(request).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                self.heard(Ok(reply.away));
                reply.found
            }
            Err(status) => {
                self.heard(Err(status));
                Vec::new()
            }
        };
        if found.len() != keys.len() {
            return vec![None; keys.len()];
        }
        found.into_iter().map(cached).collect()
    }

    fn heard(&self, away: Result<bool, Status>) {
        let rest = match away {
            Ok(away) => {
                self.silences.store(0, Ordering::Relaxed);
                if !away {
                    return;
                }
                REST
            }
            Err(status) => {
                tracing::warn!(%status, "vector-store does not answer for redis");
                let before = self.silences.fetch_add(1, Ordering::Relaxed);
                LONG_REST.min(SHORT_REST * 2_u32.pow(before.min(8)))
            }
        };
        let until = self.millis() + u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        self.away_until.store(until, Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn limited<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

fn message(key: &Key, cached: &Cached) -> PutVector {
    PutVector {
        key: Bytes::copy_from_slice(&key.0),
        value: Some(KeptVector {
            vector: cached.vector.clone(),
            tokens: cached.tokens.0,
            deployment: cached.provider.to_string(),
            made_unix_ms: millis(cached.made),
            kept_unix_ms: millis(cached.kept),
            stamp: cached.stamp,
        }),
    }
}

fn cached(kept: KeptVector) -> Option<Cached> {
    let KeptVector { vector, tokens, deployment, made_unix_ms, kept_unix_ms, stamp } = kept;
    (!vector.is_empty()).then(|| Cached {
        // a copy: it outlives the message, and would keep all of it in memory
        vector: Bytes::copy_from_slice(&vector),
        tokens: TokenCount(tokens),
        provider: deployment.into(),
        made: instant(made_unix_ms),
        kept: instant(kept_unix_ms),
        stamp,
    })
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn instant(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
