//! What an agent's configuration says about its requests, with the defaults of those that say nothing.

use std::{str::FromStr, time::Duration};

use embermesh_proto::v1::{Agent, RateLimits};

use crate::{batch::Terms, domain::strategy::Strategy};

/// An agent's terms.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// How old a vector from a cache may be; `None`: the agent wants none, and nothing of its own is kept.
    pub max_age: Option<Duration>,
    pub terms: Terms,
    pub rate_limits: Option<RateLimits>,
    /// A fallback model may answer while the pinned space is down.
    pub cross_space: bool,
    /// A vector that is too old is better than an error.
    pub use_cache_on_failure: bool,
}

impl Profile {
    /// The terms of `agent`; `strategy` is the operator's default.
    pub fn of(agent: Option<&Agent>, strategy: Strategy) -> Self {
        let cache = agent.and_then(|agent| agent.cache.as_ref());
        // admin has checked the texts
        let ttl = cache.and_then(|cache| humantime::parse_duration(cache.ttl.as_deref()?).ok());
        let enabled = cache.and_then(|cache| cache.enabled).unwrap_or(true);
        let fallback = agent.and_then(|agent| agent.fallback_behavior.as_ref());
        let constraints = agent.and_then(|agent| agent.constraints.as_ref());
        let own = agent.and_then(|agent| Strategy::from_str(agent.embedding_strategy.as_deref()?).ok());
        let p99 = constraints.and_then(|constraints| constraints.max_latency_p99_ms);
        Self {
            max_age: enabled.then(|| ttl.unwrap_or(Duration::MAX)),
            terms: Terms {
                strategy: own.unwrap_or(strategy),
                max_retries: fallback.and_then(|fallback| fallback.max_retries),
                max_latency_p99: p99.map(|ms| Duration::from_millis(u64::from(ms))),
                cheaper: fallback
                    .and_then(|f| f.on_budget_exceeded.as_deref())
                    .is_some_and(|wish| wish == "cheaper"),
            },
            rate_limits: constraints.and_then(|constraints| constraints.rate_limits),
            cross_space: fallback.and_then(|f| f.cross_space.as_deref()).is_some_and(|rule| rule == "allow"),
            use_cache_on_failure: fallback.and_then(|f| f.use_cache_on_failure).unwrap_or(false),
        }
    }
}
