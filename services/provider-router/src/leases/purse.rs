//! The leases of one path, and what is known of how it spends.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use embermesh_escrow::{Amount, Draw, Limits, Path};
use embermesh_subscription::Snapshot;
use embermesh_types::{NanoUsd, TenantId};

use super::{Drawn, FORGOTTEN, IDLE, Lease};

/// A lease should last for so long, where no limit makes it smaller: the ledger's host may be cut off, or restart, for about that.
const AHEAD_SECONDS: i64 = 60;
/// And for so many calls.
const AHEAD_CALLS: i64 = 16;
/// A rate is not told from less.
const LEAST_MILLIS: u64 = 100;
/// Leases that are spent from at a time: the one that runs short, and its successor.
const OPEN: usize = 2;
/// A version of the configuration that there is none of.
const NO_VERSION: i64 = i64::MIN;

/// What a path has.
#[derive(Debug)]
pub(crate) struct Purse {
    pub tenant: TenantId,
    pub path: Path,
    /// Oldest first.
    leases: RwLock<Vec<Arc<Lease>>>,
    /// By the configuration of `version`.
    limits: RwLock<Limits>,
    version: AtomicI64,
    /// Times that the limits have changed.
    changes: AtomicU64,
    /// A lease is being asked for.
    pub asking: AtomicBool,
    /// Of the last call, at most.
    last: AtomicI64,
    /// Of all calls since `counted`, at most.
    wanted: AtomicI64,
    /// A second, on average.
    rate: AtomicI64,
    // milliseconds since the start
    counted: AtomicU64,
    used: AtomicU64,
    not_before: AtomicU64,
}

impl Purse {
    pub fn new(tenant: TenantId, path: Path, now: u64) -> Self {
        Self {
            tenant,
            path,
            leases: RwLock::default(),
            limits: RwLock::default(),
            version: AtomicI64::new(NO_VERSION),
            changes: AtomicU64::new(0),
            asking: AtomicBool::new(false),
            last: AtomicI64::new(0),
            wanted: AtomicI64::new(0),
            rate: AtomicI64::new(0),
            counted: AtomicU64::new(now),
            used: AtomicU64::new(0),
            not_before: AtomicU64::new(0),
        }
    }

    /// Takes the limits of `snapshot`. Whether they are others than before, and the most that one call may cost.
    pub fn heed(&self, snapshot: &Snapshot) -> (bool, Option<NanoUsd>) {
        if self.version.load(Ordering::Acquire) == snapshot.version {
            let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
            return (false, limits.request());
        }
        let new = match &self.path {
            Path::Money { agent, .. } => {
                let agent = snapshot.agent(self.tenant, agent).map(|agent| &**agent);
                let budgets = snapshot.budgets(self.tenant).map(|budget| &**budget);
                Limits::of(&self.path, agent, budgets)
            }
            Path::Quota(quota) => Limits::of_quota(*quota, snapshot.quotas(self.tenant)),
        };
        let most = new.request();
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        let first = self.version.swap(snapshot.version, Ordering::AcqRel) == NO_VERSION;
        let changed = !first && *limits != new;
        *limits = new;
        if changed {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        (changed, most)
    }

    /// Another number: the limits have changed meanwhile.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Counts a call of `amount`; whether the path was in use lately.
    pub fn note_use(&self, amount: Amount, now: u64) -> bool {
        self.last.store(amount.0, Ordering::Relaxed);
        self.wanted.fetch_add(amount.0, Ordering::Relaxed);
        // 0: never
        let before = self.used.swap(now.max(1), Ordering::Relaxed);
        before > 0 && now.saturating_sub(before) < millis(IDLE)
    }

    /// Sets `amount` aside out of the oldest lease that has it.
    pub fn draw(&self, amount: Amount, now: SystemTime) -> Option<Drawn> {
        let leases = self.leases.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_today = leases.iter().filter(|lease| lease.is_of(now));
        let lease = of_today.find(|lease| lease.pocket.draw(amount) == Draw::Taken)?;
        Some(Drawn { lease: Arc::clone(lease), amount })
    }

    /// Whether a lease should be asked for, after a draw that came to `drawn`; says so once.
    pub fn wants_more(&self, drawn: Option<&Drawn>, now: u64) -> bool {
        if drawn.is_some_and(|drawn| !drawn.lease.runs_short()) {
            return false;
        }
        let short = |lease: &Arc<Lease>| lease.runs_short();
        let newest = self.leases.read().unwrap_or_else(PoisonError::into_inner).last().is_none_or(short);
        (newest || drawn.is_none())
            && self.not_before.load(Ordering::Relaxed) <= now
            && !self.asking.swap(true, Ordering::AcqRel)
    }

    /// Asks for no lease for `time`.
    pub fn pause(&self, now: u64, time: Duration) {
        self.not_before.fetch_max(now + millis(time), Ordering::Relaxed);
    }

    /// The least that is of use and what would be good to have.
    pub fn wish(&self, now: u64) -> (Amount, Amount) {
        let least = self.last.load(Ordering::Relaxed).max(1);
        let since = now.saturating_sub(self.counted.load(Ordering::Relaxed)).max(LEAST_MILLIS);
        let lately = per_second(self.wanted.load(Ordering::Relaxed), since);
        let rate = self.rate.load(Ordering::Relaxed).max(lately);
        let wanted = rate.saturating_mul(AHEAD_SECONDS).max(least.saturating_mul(AHEAD_CALLS));
        (Amount(least), Amount(wanted))
    }

    /// Measures the rate since the last time.
    pub fn measure(&self, now: u64) {
        let before = self.counted.swap(now, Ordering::Relaxed);
        let lately = per_second(self.wanted.swap(0, Ordering::Relaxed), now.saturating_sub(before).max(1));
        let rate = self.rate.load(Ordering::Relaxed);
        self.rate.store(rate - rate / 4 + lately / 4, Ordering::Relaxed);
    }

    /// Has another lease to spend from; what is too many is given back.
    pub fn add(&self, lease: Lease) -> Vec<Arc<Lease>> {
        let mut leases = self.leases.write().unwrap_or_else(PoisonError::into_inner);
        leases.push(Arc::new(lease));
        let many = leases.len().saturating_sub(OPEN);
        leases.drain(..many).collect()
    }

    /// Takes all leases out.
    pub fn take(&self) -> Vec<Arc<Lease>> {
        std::mem::take(&mut *self.leases.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the leases out that `which` holds of.
    pub fn take_if(&self, which: impl Fn(&Lease) -> bool) -> Vec<Arc<Lease>> {
        if !self.leases.read().unwrap_or_else(PoisonError::into_inner).iter().any(|lease| which(lease)) {
            return Vec::new();
        }
        let mut leases = self.leases.write().unwrap_or_else(PoisonError::into_inner);
        let (taken, kept) = std::mem::take(&mut *leases).into_iter().partition(|lease| which(lease));
        *leases = kept;
        taken
    }

    /// Leases that are spent from.
    pub fn held(&self) -> usize {
        self.leases.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Nobody has used it for a while.
    pub fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.used.load(Ordering::Relaxed)) >= millis(IDLE)
    }

    /// Nobody remembers it.
    pub fn is_forgotten(&self, now: u64) -> bool {
        now.saturating_sub(self.used.load(Ordering::Relaxed)) >= millis(FORGOTTEN)
            && self.held() == 0
            && !self.asking.load(Ordering::Acquire)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn per_second(amount: i64, millis: u64) -> i64 {
    amount.saturating_mul(1_000) / i64::try_from(millis).unwrap_or(i64::MAX).max(1)
}
