//! Which deployment takes the next call, and everything that the call needs before it may begin: the breakers' permits, a slot, a
//! place in the rate limit.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_providers::BatchLimits;
use embermesh_resilience::{Breaker, BreakerState, Permit, Slot};
use rand::RngExt;

use crate::{
    attempts::Attempts,
    batch::{Order, limits},
    consider::{Considered, consider},
    deployment::Deployment,
    domain::rank::Exclusion,
    pace,
    proofs::MayServe,
};

/// How long the verdict on a call may take beyond the call itself.
const VERDICT: Duration = Duration::from_secs(1);
/// How soon to look again when every deployment is busy.
const BUSY: Duration = Duration::from_millis(5);
/// Scores nearer than this are the same: such deployments share the load.
const SAME: f64 = 0.05;
/// Calls below which a deployment counts as good as the best.
const ENOUGH: u64 = 20;

/// The right to make one call.
#[derive(Debug)]
pub(crate) struct Admission {
    pub deployment: Arc<Deployment>,
    pub permit: Permit,
    /// None where an operator's order overrides the host's breaker.
    pub host: Option<Permit>,
    pub slot: Slot,
    /// What the call may carry.
    pub limits: BatchLimits,
}

/// Why no call can begin now.
#[derive(Debug)]
pub(crate) enum NotNow {
    /// Waiting this long helps, if nobody else is faster.
    Wait(Duration),
    /// Waiting does not help a request; a later one may be served.
    Never(Error),
}

/// What a batch has met so far.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    /// Deployments that will not do for this batch.
    pub out: Vec<Arc<str>>,
    /// The one that was called last.
    pub last: Option<Arc<str>>,
    /// What it said.
    pub error: Option<String>,
    /// Why the batch looks for what costs less; the refusal that stands when there is nothing.
    pub refused: Option<Error>,
}

impl Attempts {
    /// Admits a call to the best deployment that can take one now; `load` tells the tokens that it carries within a deployment's limits.
    pub fn admit(
        self: &Arc<Self>,
        order: &Order,
        load: &dyn Fn(BatchLimits) -> u64,
        tried: &Tried,
    ) -> Result<Admission, NotNow> {
        let now = Instant::now();
        let considered = consider(&self.deployments, order, self.clock.now(), now);
        if considered.is_empty() {
            return Err(NotNow::Never(self.nobody_serves(order)));
        }
        let peers = considered.len() > 1;
        let mut refusals = Refusals::default();
        let mut resting = Vec::new();
        for at in self.turns(&considered, tried, now) {
            let one = &considered[at];
            let deployment = &one.deployment;
            let prove = peers || deployment.account.is_newcomer();
            if tried.out.contains(&deployment.name) {
                continue;
            }
            if let Some(exclusion) = &one.exclusion {
                refusals.excluded(exclusion, one, now);
                // what is not shown to give the space's vectors does not serve as a last resort either
                let shown = !prove || deployment.ever_answered() || self.proofs.is_shown(deployment);
                if matches!(exclusion, Exclusion::BreakerOpen) && shown {
                    resting.push(at);
                }
                continue;
            }
            if prove {
                let all: Vec<_> = considered.iter().map(|one| &one.deployment).collect();
                match self.proofs.may_serve(deployment, &order.model, &all, self) {
                    MayServe::Yes => {}
                    MayServe::Soon => {
                        refusals.wait(BUSY);
                        continue;
                    }
                    MayServe::NotNow => {
                        refusals.reasons.push(format!("{}: the equivalence probe failed", deployment.name));
                        continue;
                    }
                }
            }
            match take(one, order, load, now, false) {
                Ok(admission) => return Ok(admission),
                // its lease is on its way: no reason to prefer another
                Err(Full::For(wait)) if wait <= pace::ROUND => return Err(NotNow::Wait(wait)),
                Err(Full::For(wait)) => refusals.wait(wait),
                Err(Full::OnTrial) => refusals.retry = Some(VERDICT),
            }
        }
        // everything rests: one call a second finds out when that is over
        if refusals.shortest.is_none() {
            for at in resting {
                if let Ok(admission) = take(&considered[at], order, load, now, true) {
                    return Ok(admission);
                }
            }
        }
        Err(refusals.into_not_now(order, tried))
    }

    /// Why a model has no deployment.
    fn nobody_serves(&self, order: &Order) -> Error {
        let id = &order.model.id;
        let refused = self.deployments.refused_for(&order.model);
        let why: Vec<String> = refused.iter().map(|one| format!("{}: {}", one.name, one.reason)).collect();
        Error::unavailable(if why.is_empty() {
            format!("no configured provider serves {id}; add one under embedding.providers")
        } else {
            format!("no provider of {id} can be used: {}", why.join("; "))
        })
    }

    /// How long a call that `ahead` others precede would wait for its place in the rate limits; zero where there is none.
    pub fn estimate(&self, order: &Order, ahead: u64, tokens: u64) -> Duration {
        let now = Instant::now();
        let serving = self.deployments.of(&order.model);
        let waits = serving.iter().filter(|d| d.out(now).is_none()).map(|deployment| {
            let throttled = deployment.throttled_until(now).map_or(Duration::ZERO, |until| until - now);
            let paced = deployment.account.pace.as_ref();
            throttled.max(paced.map_or(Duration::ZERO, |pace| pace.estimate(now, ahead, tokens)))
        });
        waits.min().unwrap_or_default()
    }

    /// Positions in the order in which to try: best first, equals taking turns, the last one called after the others.
    fn turns(&self, considered: &[Considered], tried: &Tried, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..considered.len()).collect();
        if order.len() == 1 {
            return order;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let best = considered.iter().filter(|one| one.exclusion.is_none()).map(|one| one.score);
        let best = best.fold(0.0, f64::max);
        let key = |at: usize| {
            let one = &considered[at];
            let standing = one.deployment.breaker.standing(now);
            let rationed = standing.share < 1.0 && rand::rng().random::<f64>() >= standing.share;
            let again = tried.last.as_ref() == Some(&one.deployment.name);
            // what nobody has measured cannot be ranked, and without calls it never would be
            let unmeasured = one.measured.calls < ENOUGH && one.exclusion.is_none();
            let equal = unmeasured || one.score + SAME >= best;
            let load = if equal { one.deployment.concurrency.in_flight() } else { 0 };
            let rotated = (at + considered.len() - turn % considered.len()) % considered.len();
            (again, standing.suspect, rationed, !equal, load, if equal { rotated } else { at })
        };
        order.sort_by_cached_key(|at| key(*at));
        order
    }
}

/// Takes all that a call of `one` needs; what is taken before something is missing is given back.
fn take(
    one: &Considered,
    order: &Order,
    load: &dyn Fn(BatchLimits) -> u64,
    now: Instant,
    last_resort: bool,
) -> Result<Admission, Full> {
    let deployment = &one.deployment;
    let account = &deployment.account;
    let lease = account.timeout + VERDICT;
    let permit = |breaker: &Arc<Breaker>| {
        let admitted = breaker.admit(now, lease);
        if last_resort { admitted.or_else(|| breaker.last_resort(now, lease)) } else { admitted }
    };
    let slot = deployment.concurrency.try_acquire().ok_or(Full::For(BUSY))?;
    let host = permit(&account.host);
    // by an operator's order calls go out, whatever the host's breaker has seen
    let is_forced = deployment.breaker.standing(now).state == BreakerState::ForcedClosed;
    if host.is_none() && !is_forced {
        return Err(Full::OnTrial);
    }
    let permit = permit(&deployment.breaker).ok_or(Full::OnTrial)?;
    let mut limits = limits(&order.model, account.provider.limits(&order.model));
    if let Some(pace) = &account.pace {
        // a larger call would wait for its tokens while a smaller one could go
        limits.tokens = limits.tokens.min(account.most_tokens_at_once);
        let tokens = load(limits);
        pace.try_take(now, tokens).map_err(Full::For)?;
        limits.tokens = limits.tokens.min(tokens);
    }
    Ok(Admission { deployment: Arc::clone(deployment), permit, host, slot, limits })
}

/// Why a deployment that is not excluded takes no further call.
enum Full {
    /// It has no room for so long.
    For(Duration),
    /// It is half open and has the calls it may have: whoever comes meanwhile is not kept waiting for their outcome.
    OnTrial,
}

#[derive(Debug, Default)]
struct Refusals {
    /// Until something that is only busy has room.
    shortest: Option<Duration>,
    /// Until something that rests may be called again.
    retry: Option<Duration>,
    throttled: bool,
    reasons: Vec<String>,
}

impl Refusals {
    fn wait(&mut self, wait: Duration) {
        self.shortest = Some(self.shortest.map_or(wait, |shortest| shortest.min(wait)));
    }

    fn excluded(&mut self, exclusion: &Exclusion, one: &Considered, now: Instant) {
        if let Some(until) = one.until {
            let left = until.saturating_duration_since(now);
            if matches!(exclusion, Exclusion::Throttled) {
                self.throttled = true;
                self.wait(left.max(Duration::from_millis(1)));
            }
            self.retry = Some(self.retry.map_or(left, |retry| retry.min(left)));
        }
        self.reasons.push(format!("{}: {exclusion}", one.deployment.name));
    }

    fn into_not_now(self, order: &Order, tried: &Tried) -> NotNow {
        if let Some(wait) = self.shortest {
            return NotNow::Wait(wait);
        }
        let why = tried.error.clone().unwrap_or_else(|| self.reasons.join("; "));
        let why = if why.is_empty() { "every deployment is resting after failures".to_owned() } else { why };
        let after = self.retry.unwrap_or(Duration::from_secs(5)).max(Duration::from_secs(1));
        let message = format!("no provider of {} can answer now: {why}", order.model.id);
        NotNow::Never(Error::unavailable(message).with_retry_after(after))
    }
}

/// The refusal of a request that would wait longer than it can.
pub(crate) fn too_late(order: &Order, wait: Duration) -> Error {
    let message = format!(
        "the rate limits of the providers of {} are used up for longer than the request can wait, try again later",
        order.model.id
    );
    Error::new(Code::RateLimited, message).with_retry_after(wait.max(Duration::from_secs(1)))
}
