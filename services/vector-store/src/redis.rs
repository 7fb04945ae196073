//! Redis, where there is one, with its calls measured.

use std::time::{Duration, Instant};

use embermesh_cache::{
    Away, Kept, Lease, Limit, RedisCache, RedisSettings, ServerMemory, Sweep, Swept, VectorKey,
};
use embermesh_lifecycle::Tasks;
use embermesh_telemetry::Metrics;
use embermesh_vector_key::Keys;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use crate::{StartError, settings::RedisTuning};

/// Seconds: an answer takes a fraction of a millisecond or is not waited for.
const BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.05, 0.25];

/// Redis, or none. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Redis {
    cache: Option<RedisCache>,
    seconds: HistogramVec,
    failures: IntCounterVec,
}

impl Redis {
    /// Begins to connect where Redis is configured.
    pub(crate) fn start(
        place: &embermesh_config::Redis,
        tuning: &RedisTuning,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let settings = RedisSettings {
            url: place.url.as_ref().map(|url| url.as_secret().clone()),
            endpoints: place.cluster_endpoints.clone(),
            command_timeout: Duration::from_millis(u64::from(tuning.timeout_ms.max(1))),
            failures: tuning.failures,
            rest: Duration::from_millis(u64::from(tuning.rest_ms)),
            memory: ServerMemory {
                max_memory: place.cache_strategies.embeddings.max_memory.clone(),
                eviction_policy: place.cache_strategies.embeddings.eviction_policy.clone(),
            },
        };
        let cache = settings.is_configured().then(|| RedisCache::connect(&settings, tasks)).transpose()?;
        let seconds =
            HistogramOpts::new("redis_call_duration_seconds", "Calls that Redis was asked for, by kind.");
        let failures =
            Opts::new("redis_call_failures_total", "Calls without an answer of Redis, by kind and reason.");
        Ok(Self {
            cache,
            seconds: metrics.register(HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["call"])?),
            failures: metrics.register(IntCounterVec::new(failures, &["call", "reason"])?),
        })
    }

    pub(crate) async fn get_many(&self, keys: &[VectorKey]) -> Result<Vec<Option<Kept>>, Away> {
        let started = Instant::now();
        let cache = self.cache.as_ref().ok_or(Away::NotConnected)?;
        self.measured("get", started, cache.get_many(keys).await)
    }

    pub(crate) async fn put_many(&self, vectors: &[(VectorKey, Kept)], ttl: Duration) -> Result<(), Away> {
        let started = Instant::now();
        let cache = self.cache.as_ref().ok_or(Away::NotConnected)?;
        self.measured("put", started, cache.put_many(vectors, ttl).await)
    }

    pub(crate) async fn lease(&self, limit: Limit<'_>, want: u64, at_least: u64) -> Result<Lease, Away> {
        let started = Instant::now();
        let cache = self.cache.as_ref().ok_or(Away::NotConnected)?;
        self.measured("lease", started, cache.lease(limit, want, at_least).await)
    }

    /// Whether there is one, away or not.
    pub(crate) fn is_configured(&self) -> bool {
        self.cache.is_some()
    }

    pub(crate) async fn sweep(&self) -> Result<Sweep, Away> {
        self.cache.as_ref().ok_or(Away::NotConnected)?.sweep().await
    }

    pub(crate) async fn sweep_on(
        &self,
        sweep: &mut Sweep,
        which: &Keys,
        before: i64,
    ) -> Result<Option<Swept>, Away> {
        let started = Instant::now();
        let cache = self.cache.as_ref().ok_or(Away::NotConnected)?;
        self.measured("sweep", started, cache.sweep_on(sweep, which, before).await)
    }

    fn measured<T>(&self, call: &str, started: Instant, outcome: Result<T, Away>) -> Result<T, Away> {
        if let Err(away) = &outcome {
            self.failures.with_label_values(&[call, away.as_str()]).inc();
        }
        if outcome.is_ok() || outcome.as_ref().is_err_and(|away| away.was_asked()) {
            self.seconds.with_label_values(&[call]).observe(started.elapsed().as_secs_f64());
        }
        outcome
    }
}
