//! What an agent may do at a time and in a minute, by its configuration. Who is over it is refused at once and told when to come back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_config::RateLimit;
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::{internal::v1::throttle_client::ThrottleClient, v1::RateLimits};
use embermesh_transport::Transport;
use embermesh_types::{AgentId, TenantId};

use crate::pace::{Burst, Pace, TooLate};

/// A wait shorter than this is not worth a refusal.
const PATIENCE: Duration = Duration::from_millis(250);
/// After so long without a request nothing is remembered of an agent; any minute's limit is whole again by then.
const IDLE: Duration = Duration::from_secs(150);
/// Agents between two searches for idle ones.
const SWEEP: usize = 256;

type Name = (TenantId, AgentId);

/// The limits of all agents that came lately. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AgentLimits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replicas: u32,
    throttle: ThrottleClient<Transport>,
    tasks: Tasks,
    agents: Mutex<Agents>,
}

#[derive(Debug, Default)]
struct Agents {
    known: HashMap<Name, Known>,
    /// When there are so many, idle ones leave.
    sweep_at: usize,
}

#[derive(Debug)]
struct Known {
    limits: RateLimits,
    pace: Option<Pace>,
    running: Arc<AtomicU32>,
    seen: Instant,
}

/// One of the requests that an agent may have at a time; given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct AgentSlot(Arc<AtomicU32>);

impl Drop for AgentSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AgentLimits {
    /// No agents yet. Of the requests at a time each of `replicas` routers grants its part.
    pub fn new(replicas: u32, throttle: ThrottleClient<Transport>, tasks: Tasks) -> Self {
        Self(Arc::new(Inner { replicas: replicas.max(1), throttle, tasks, agents: Mutex::default() }))
    }

    /// Admits a request of `tokens`.
    ///
    /// # Errors
    /// `rate_limited` with the time to wait, or `too_large` when no wait would help.
    pub async fn admit(
        &self,
        tenant: TenantId,
        agent: &AgentId,
        limits: &RateLimits,
        tokens: u64,
    ) -> Result<AgentSlot, Error> {
        if let Some(most) = limits.tokens_per_minute.filter(|most| *most > 0 && tokens > *most) {
            let message = format!(
                "the request has {tokens} tokens and agent {agent} may use {most} a minute; send fewer texts at once"
            );
            return Err(Error::new(Code::TooLarge, message)
                .with_detail("limit", "tokens_per_minute")
                .with_detail("tokens_per_minute", most)
                .with_detail("tokens", tokens));
        }
        let (pace, running) = self.of(tenant, agent, limits);
        let slot = self.slot(agent, limits, running)?;
        if let Some(pace) = pace {
            let taken = pace.take(tokens, Instant::now() + PATIENCE).await;
            taken.map_err(|late| over(agent, limits, late))?;
        }
        Ok(slot)
    }

    fn of(&self, tenant: TenantId, agent: &AgentId, limits: &RateLimits) -> (Option<Pace>, Arc<AtomicU32>) {
        let now = Instant::now();
        let mut agents = self.agents();
        agents.sweep(now);
        let name = (tenant, agent.clone());
        if let Some(known) = agents.known.get_mut(&name) {
            known.seen = now;
            if known.limits != *limits {
                known.pace = self.pace(tenant, agent, limits);
                known.limits = *limits;
            }
            return (known.pace.clone(), Arc::clone(&known.running));
        }
        let pace = self.pace(tenant, agent, limits);
        let known = Known { limits: *limits, pace, running: Arc::default(), seen: now };
        let found = (known.pace.clone(), Arc::clone(&known.running));
        agents.known.insert(name, known);
        found
    }

    fn pace(&self, tenant: TenantId, agent: &AgentId, limits: &RateLimits) -> Option<Pace> {
        let limit = RateLimit {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
        };
        let Inner { replicas, throttle, tasks, .. } = &*self.0;
        let limited = limit.requests_per_minute.is_some() || limit.tokens_per_minute.is_some();
        limited.then(|| {
            Pace::new(&format!("agent:{tenant}:{agent}"), limit, Burst::All, *replicas, throttle, tasks)
        })
    }

    fn slot(
        &self,
        agent: &AgentId,
        limits: &RateLimits,
        running: Arc<AtomicU32>,
    ) -> Result<AgentSlot, Error> {
        let most = limits.concurrent_requests.map_or(u32::MAX, |all| {
            // all routers together keep to it; where there are more routers than requests, one each
            if all == 0 { 0 } else { (all / self.0.replicas).max(1) }
        });
        let began = running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then(|| n + 1));
        if began.is_ok() {
            return Ok(AgentSlot(running));
        }
        let all = limits.concurrent_requests.unwrap_or_default();
        let message = format!("agent {agent} may have {all} requests at a time, wait for one to be answered");
        Err(Error::new(Code::RateLimited, message)
            .with_retry_after(Duration::from_secs(1))
            .with_detail("limit", "concurrent_requests")
            .with_detail("concurrent_requests", all))
    }

    fn agents(&self) -> MutexGuard<'_, Agents> {
        self.0.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agents {
    fn sweep(&mut self, now: Instant) {
        if self.known.len() < self.sweep_at.max(SWEEP) {
            return;
        }
        self.known.retain(|_, known| {
            known.running.load(Ordering::Relaxed) > 0 || now.saturating_duration_since(known.seen) < IDLE
        });
        self.sweep_at = 2 * self.known.len();
    }
}

fn over(agent: &AgentId, limits: &RateLimits, late: TooLate) -> Error {
    let most = match late.limit {
        "tokens_per_minute" => limits.tokens_per_minute.unwrap_or_default(),
        _ => u64::from(limits.requests_per_minute.unwrap_or_default()),
    };
    let what = late.limit.split('_').next().unwrap_or_default();
    let message = format!("agent {agent} has used up its {most} {what} a minute, try again later");
    Error::new(Code::RateLimited, message)
        .with_retry_after(late.wait)
        .with_detail("limit", late.limit)
        .with_detail(late.limit, most)
}

#[cfg(test)]
mod tests;
