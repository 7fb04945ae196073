//! The rate limits of one provider entry or one agent: calls and tokens a minute, shared by all routers.
//!
//! A call takes from both or from neither, out of leases that this process holds, so that nothing waits for the network while there is
//! room. Who has to wait is told at once for how long.

mod alone;
mod holding;
mod shared_rate;
mod usage;
mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_config::RateLimit;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::throttle_client::ThrottleClient;
use embermesh_transport::Transport;
use tokio::{
    sync::{Mutex, Notify},
    time::{sleep, timeout_at},
};

use holding::Taken;
use shared_rate::SharedRate;

/// What [`Pace::try_take`] says while it only waits for the answer about a lease: soon there is either room or a real wait.
pub(crate) const ROUND: Duration = Duration::from_millis(2);
/// Longest sleep of the first in line: what others give back is seen no later.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How much of a minute's worth may be used at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burst {
    /// A tenth, and the rest as it comes in: what providers expect, who count in shorter spans too.
    Tenth,
    /// All of it, in any pattern.
    All,
}

/// There is no room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLate {
    /// Until there is, if nobody else takes it.
    pub wait: Duration,
    /// The limit that is used up, by its name in the configuration.
    pub limit: &'static str,
}

/// Calls and tokens a minute. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rates: Vec<(Measure, SharedRate)>,
    /// Held by the first in line; given on in the order of arrival.
    turn: Mutex<()>,
    waiting: Waiting,
    /// Something about a rate has changed.
    news: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Calls,
    Tokens,
}

impl Measure {
    const fn of(self, calls: u64, tokens: u64) -> u64 {
        match self {
            Self::Calls => calls,
            Self::Tokens => tokens,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
        }
    }
}

impl Pace {
    /// Paces that bear the same name share `limit`, in whatever router they are. While the leases cannot be had, each of `replicas`
    /// routers keeps to its part.
    pub fn new(
        name: &str,
        limit: RateLimit,
        burst: Burst,
        replicas: u32,
        throttle: &ThrottleClient<Transport>,
        tasks: &Tasks,
    ) -> Self {
        let news = Arc::new(Notify::new());
        let limits = [
            (Measure::Calls, limit.requests_per_minute.map(u64::from)),
            (Measure::Tokens, limit.tokens_per_minute),
        ];
        let rates = limits.into_iter().filter_map(|(measure, per_minute)| {
            let name = format!("{name}:{}", measure.name());
            let (throttle, tasks) = (throttle.clone(), tasks.clone());
            let rate =
                SharedRate::new(name, per_minute?, burst, replicas, throttle, tasks, Arc::clone(&news));
            Some((measure, rate))
        });
        let rates = rates.collect();
        Self(Arc::new(Inner { rates, turn: Mutex::default(), waiting: Waiting::default(), news }))
    }

    /// Takes a call of `tokens` without waiting, behind those who wait in line; or says when to try again. What is taken is used: a
    /// provider counts also what it refuses.
    pub fn try_take(&self, now: Instant, tokens: u64) -> Result<(), Duration> {
        let (calls, ahead) = self.0.waiting.now();
        if calls > 0 {
            return Err(self.estimate(now, calls, ahead + tokens).max(Duration::from_millis(1)));
        }
        self.take_now(now, tokens).map_err(|late| late.wait)
    }

    /// Takes a call of `tokens`, waiting in line, and refuses at once when that would take until after `deadline`.
    pub async fn take(&self, tokens: u64, deadline: Instant) -> Result<(), TooLate> {
        let (_in_line, calls, ahead) = self.0.waiting.join(tokens);
        let expected = |now| self.longest(now, calls, ahead + tokens);
        let now = Instant::now();
        if let Some(late) = expected(now).filter(|late| now + late.wait > deadline) {
            return Err(late);
        }
        let Ok(_turn) = timeout_at(deadline.into(), self.0.turn.lock()).await else {
            let unknown = TooLate { wait: LOOK_AGAIN, limit: Measure::Calls.name() };
            return Err(expected(Instant::now()).unwrap_or(unknown));
        };
        loop {
            let mut news = std::pin::pin!(self.0.news.notified());
            // what is told between the look and the wait is not missed
            news.as_mut().enable();
            let now = Instant::now();
            let late = match self.take_now(now, tokens) {
                Ok(()) => return Ok(()),
                Err(late) => late,
            };
            if now + late.wait > deadline {
                return Err(late);
            }
            tokio::select! {
                () = sleep(late.wait.min(LOOK_AGAIN)) => {}
                () = news => {}
            }
        }
    }

    /// How long a call of `tokens` would wait that `ahead` calls precede; an estimate, as others take too.
    pub fn estimate(&self, now: Instant, ahead: u64, tokens: u64) -> Duration {
        self.longest(now, ahead, tokens).map_or(Duration::ZERO, |late| late.wait)
    }

    fn longest(&self, now: Instant, ahead: u64, tokens: u64) -> Option<TooLate> {
        let waits = self.0.rates.iter().map(|(measure, rate)| TooLate {
            wait: rate.estimate(now, measure.of(ahead + 1, tokens)),
            limit: measure.name(),
        });
        waits.max_by_key(|late| late.wait)
    }

    /// From both or from neither.
    fn take_now(&self, now: Instant, tokens: u64) -> Result<(), TooLate> {
        let mut taken: Vec<(&SharedRate, Taken)> = Vec::with_capacity(2);
        for (measure, rate) in &self.0.rates {
            match rate.try_take(now, measure.of(1, tokens)) {
                Ok(some) => taken.push((rate, some)),
                Err(wait) => {
                    taken.into_iter().for_each(|(rate, some)| rate.give_back(some));
                    return Err(TooLate { wait, limit: measure.name() });
                }
            }
        }
        Ok(())
    }
}

/// Who waits in line, and for how much.
#[derive(Debug, Default)]
struct Waiting {
    calls: AtomicU64,
    tokens: AtomicU64,
}

/// A place in line, left when this is dropped.
struct InLine<'a> {
    waiting: &'a Waiting,
    tokens: u64,
}

impl Waiting {
    fn now(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.tokens.load(Ordering::Relaxed))
    }

    /// Calls and tokens that were there before.
    fn join(&self, tokens: u64) -> (InLine<'_>, u64, u64) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let ahead = self.tokens.fetch_add(tokens, Ordering::Relaxed);
        (InLine { waiting: self, tokens }, calls, ahead)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.waiting.calls.fetch_sub(1, Ordering::Relaxed);
        self.waiting.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
