//! One rate that all routers share: what this process holds of it in leases, and what it keeps to alone while there are none.
//!
//! A lease is used within a second of asking for it or not at all, which leaves the call another second to reach the provider: for so
//! long vector-store keeps its windows ([`MARGIN`]). Leases are as large as what a quarter of a second used lately.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{LeaseReply, LeaseRequest, throttle_client::ThrottleClient};
use embermesh_resilience::Rate;
use embermesh_transport::Transport;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Burst, ROUND,
    alone::Alone,
    holding::{Held, Holding, Standing, Taken, Wanted},
};

const MINUTE: Duration = Duration::from_secs(60);
/// What vector-store adds to a minute, so that also what is used some time after it was granted stays within the limit.
pub(super) const MARGIN: Duration = Duration::from_secs(2);
/// How long a lease may be held.
const HOLD: Duration = Duration::from_secs(1);
/// How long an answer is worth waiting for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a rate is kept alone before leases are asked for again: at first, as it may have been a hiccup, and at most.
const ALONE_FIRST: Duration = Duration::from_secs(1);
const ALONE_LONGEST: Duration = Duration::from_secs(10);
/// Longest pause between two questions while somebody waits: a claim on a large share lapses otherwise.
const RENEW: Duration = Duration::from_millis(500);
/// How long somebody counts as waiting after having asked.
const INTEREST: Duration = Duration::from_millis(1_500);

/// One rate. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SharedRate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    per_minute: u64,
    burst: u64,
    /// Time in which one comes in.
    interval: Duration,
    alone: Alone,
    throttle: ThrottleClient<Transport>,
    tasks: Tasks,
    news: Arc<Notify>,
    state: Mutex<Holding>,
}

impl SharedRate {
    pub(super) fn new(
        name: String,
        per_minute: u64,
        burst: Burst,
        replicas: u32,
        throttle: ThrottleClient<Transport>,
        tasks: Tasks,
        news: Arc<Notify>,
    ) -> Self {
        let alone = Alone::new(per_minute, burst, replicas);
        let tenth = Rate::per_minute(per_minute).burst;
        let burst = if burst == Burst::All { per_minute } else { tenth };
        let refill = per_minute.saturating_sub(tenth).saturating_add(1);
        Self(Arc::new(Inner {
            name,
            per_minute,
            burst,
            interval: Duration::from_secs_f64((MINUTE + MARGIN).as_secs_f64() / refill as f64),
            alone,
            throttle,
            tasks,
            news,
            state: Mutex::default(),
        }))
    }

    /// Takes `n`, at most a minute's worth, or says when to try again.
    pub(super) fn try_take(&self, now: Instant, n: u64) -> Result<Taken, Duration> {
        let n = n.min(self.0.per_minute);
        if self.0.per_minute == 0 {
            return Err(MINUTE);
        }
        let mut state = self.0.lock();
        if let Standing::Alone { again, .. } = state.standing {
            if now >= again {
                self.ask(&mut state);
            }
            self.0.alone.take(now, n)?;
            state.alone_used = state.alone_used.saturating_add(n);
            return Ok(Taken { n, until: None });
        }
        state.forget(now);
        if let Some(larger) = state.wanted.filter(|wanted| wanted.n > self.0.burst && n < wanted.n) {
            // it was here first, and would never see the rate come together
            return Err(self.0.wait(&state, now, larger.n.saturating_add(n)));
        }
        let Some(taken) = state.take(n) else {
            let n = state.wanted.map_or(n, |wanted| wanted.n.max(n));
            state.wanted = Some(Wanted { n, until: now + INTEREST });
            self.ask(&mut state);
            return Err(self.0.wait(&state, now, n));
        };
        if state.wanted.is_some_and(|wanted| wanted.n <= n) {
            state.wanted = None;
        }
        state.usage.record(now, n);
        self.0.alone.taken_elsewhere(now, n);
        if state.is_low(now) {
            self.ask(&mut state);
        }
        Ok(taken)
    }

    /// Gives back what was not used after all.
    pub(super) fn give_back(&self, taken: Taken) {
        match taken.until {
            None => {
                let mut state = self.0.lock();
                state.alone_used = state.alone_used.saturating_sub(taken.n);
                self.0.alone.give_back(taken.n);
            }
            Some(until) => {
                self.0.alone.given_back_elsewhere(taken.n);
                self.0.lock().held.push_front(Held { n: taken.n, until });
            }
        }
    }

    /// How long until `n` can be taken, as far as is known.
    pub(super) fn estimate(&self, now: Instant, n: u64) -> Duration {
        if self.0.per_minute == 0 {
            return MINUTE;
        }
        let mut state = self.0.lock();
        if let Standing::Alone { .. } = state.standing {
            return self.0.alone.wait_for(now, n);
        }
        state.forget(now);
        let missing = n.saturating_sub(state.held());
        match state.standing {
            Standing::Refused { n, at } => {
                let then = at.saturating_duration_since(now) + self.0.time_for(missing.saturating_sub(n));
                if missing == 0 { Duration::ZERO } else { then }
            }
            _ => self.0.time_for(missing.saturating_sub(self.0.burst)),
        }
    }

    /// Sends a question on its way, unless one is.
    fn ask(&self, state: &mut Holding) {
        if !std::mem::replace(&mut state.asking, true) {
            self.0.tasks.spawn("rate lease", Arc::clone(&self.0).ask());
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until there is an answer that is not a refusal, or nobody waits any more.
    async fn ask(self: Arc<Self>) {
        while let Some(question) = self.question(Instant::now()) {
            let (asked, at_least) = (Instant::now(), question.at_least);
            let reply = timeout(PATIENCE, self.throttle.clone().lease(question)).await;
            let reply = reply.ok().and_then(Result::ok).map(tonic::Response::into_inner);
            match self.heard(asked, at_least, reply) {
                Some(pause) => sleep(pause).await,
                None => return,
            }
        }
    }

    /// What to ask for; `None`, and no question under way any more: nothing is missing.
    fn question(&self, now: Instant) -> Option<LeaseRequest> {
        let mut state = self.lock();
        state.forget(now);
        let target = state.target(now);
        let missing = state.wanted.map_or(0, |wanted| wanted.n.saturating_sub(state.held()));
        if let Standing::Alone { .. } = state.standing {
            return Some(self.request(state.alone_used, 1));
        }
        if missing == 0 && !state.is_low(now) {
            state.asking = false;
            return None;
        }
        Some(self.request(target.min(self.per_minute.div_ceil(60)), missing.max(1)))
    }

    fn request(&self, want: u64, at_least: u64) -> LeaseRequest {
        LeaseRequest {
            limit: self.name.clone(),
            per_minute: self.per_minute,
            burst: self.burst,
            want: want.max(at_least),
            at_least,
        }
    }

    /// Takes an answer in; `Some`: ask again after a pause.
    fn heard(&self, asked: Instant, at_least: u64, reply: Option<LeaseReply>) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        let was_alone = matches!(state.standing, Standing::Alone { .. });
        let pause = match reply {
            Some(LeaseReply { away: false, granted: 0, retry_after_ms }) => {
                let wait = Duration::from_millis(retry_after_ms);
                state.standing = Standing::Refused { n: at_least, at: now + wait };
                Some(wait.clamp(ROUND, RENEW))
            }
            Some(LeaseReply { away: false, granted, .. }) => {
                if !was_alone {
                    state.held.push_back(Held { n: granted, until: asked + HOLD });
                }
                state.standing = Standing::Shared;
                state.granted = Some(now);
                None
            }
            _ => {
                self.go_alone(&mut state, now);
                None
            }
        };
        state.asking = pause.is_some();
        drop(state);
        self.news.notify_waiters();
        pause
    }

    fn go_alone(&self, state: &mut Holding, now: Instant) {
        let mut pause = ALONE_FIRST;
        if let Standing::Alone { pause: last, .. } = state.standing {
            pause = (2 * last).min(ALONE_LONGEST);
        } else {
            tracing::info!(limit = self.name, "a shared rate limit is kept alone, redis is away");
            state.alone_used = 0;
            if state.granted.is_some_and(|at| now.saturating_duration_since(at) < MINUTE + MARGIN) {
                self.alone.begin(now);
            }
        }
        state.held.clear();
        state.wanted = None;
        state.standing = Standing::Alone { again: now + pause, pause };
    }

    /// When to try again for `n`.
    fn wait(&self, state: &Holding, now: Instant, n: u64) -> Duration {
        match state.standing {
            Standing::Refused { n: there, at } => {
                let missing = n.saturating_sub(state.held());
                let wait = at.saturating_duration_since(now) + self.time_for(missing.saturating_sub(there));
                wait.max(ROUND)
            }
            _ => ROUND,
        }
    }

    fn time_for(&self, n: u64) -> Duration {
        // a minute's worth at most is waited for, and a queue of a day is as good as any longer one
        Duration::from_secs_f64((self.interval.as_secs_f64() * n as f64).min(86_400.0))
    }
}
