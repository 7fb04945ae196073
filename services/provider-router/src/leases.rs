//! Slices of budgets and quotas that this process may use by itself: of budgets by who spends at whom, of quotas by tenant. Knows what is left of each and when to ask for more
//! or to give back; whether anything is granted is the ledger's decision.

mod ask;
mod keep;
mod lease;
mod purse;
mod purses;
mod renew;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use embermesh_escrow::{Amount, Path, Quota};
use embermesh_proto::internal::v1::{Entry, LeaseReturn, entry::Entry as Value, ledger_client::LedgerClient};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_transport::Transport;
use embermesh_types::{AgentId, Clock, KeyId, TenantId};
use prometheus::IntGauge;
use tokio::sync::{Notify, mpsc};

use self::purses::Purses;
pub(crate) use self::{
    keep::keep,
    lease::{Drawn, Lease},
    purse::Purse,
    renew::renew,
};
use crate::journal::Journal;

/// Without use for so long, what is leased is returned.
const IDLE: Duration = Duration::from_secs(10);
/// Without use for so long, a path is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// After a refusal or a call-back, how long a path asks the ledger for each call.
const SHORT_OF_MONEY: Duration = Duration::from_secs(2);

/// Who spends at whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PathKey {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub key: KeyId,
    /// The provider entry.
    pub provider: Arc<str>,
}

impl PathKey {
    /// The path that the ledger knows.
    pub fn path(&self) -> Path {
        let Self { agent, key, provider, .. } = self.clone();
        Path::Money { agent, key, provider: provider.to_string() }
    }
}

/// Every lease of this process.
#[derive(Debug)]
pub(crate) struct Leases {
    pub journal: Arc<Journal>,
    ledger: LedgerClient<Transport>,
    subscription: Subscription,
    clock: Clock,
    purses: Purses<PathKey>,
    quotas: Purses<(TenantId, Quota)>,
    /// Nothing is drawn from them any more, but they are not returned to the last.
    closing: Mutex<Vec<Arc<Lease>>>,
    asks: mpsc::UnboundedSender<Arc<Purse>>,
    /// Something may have come back to a closed lease.
    returns: Notify,
    held: IntGauge,
    started: Instant,
}

/// Those whose lease runs short.
pub(crate) type Asks = mpsc::UnboundedReceiver<Arc<Purse>>;

impl Leases {
    pub fn new(
        journal: Arc<Journal>,
        ledger: LedgerClient<Transport>,
        subscription: Subscription,
        clock: Clock,
        held: IntGauge,
    ) -> (Arc<Self>, Asks) {
        let (asks, asked) = mpsc::unbounded_channel();
        let leases = Self {
            journal,
            ledger,
            subscription,
            clock,
            purses: Purses::default(),
            quotas: Purses::default(),
            closing: Mutex::default(),
            asks,
            returns: Notify::new(),
            held,
            started: Instant::now(),
        };
        (Arc::new(leases), asked)
    }

    /// Sets `amount` aside out of a lease of `path`. `None`: the ledger has to be asked. While nothing is known of the configuration,
    /// and so of the limits of a single call, it always has to be.
    pub fn draw(&self, path: &PathKey, amount: Amount, now: SystemTime) -> Option<Drawn> {
        self.draw_from(&self.purse(path), amount, now)
    }

    /// Takes `amount` of a tenant's quota out of a lease, and writes it down. `None`: the ledger has to be asked.
    pub fn count(&self, tenant: TenantId, quota: Quota, amount: Amount, now: SystemTime) -> Option<Drawn> {
        let make = || Purse::new(tenant, Path::Quota(quota), self.millis());
        let drawn = self.draw_from(&self.quotas.get_or_make(&(tenant, quota), make), amount, now)?;
        // that nothing keeps it any longer is right: by itself it says all that there is to say
        if self.journal.begin(tenant, drawn.lease.count(amount.0)).is_ok() {
            return Some(drawn);
        }
        let _untold = drawn.lease.count(-amount.0);
        self.end(&drawn, Amount::ZERO);
        None
    }

    /// Ends what was counted, of which `used` is gone.
    pub fn end_count(&self, drawn: &Drawn, used: Amount) {
        if used != drawn.amount {
            // first the record: what is back in the lease may be returned at once
            let less = drawn.lease.count(used.0.saturating_sub(drawn.amount.0));
            self.journal.put_one(drawn.lease.tenant, less);
        }
        self.end(drawn, used);
    }

    fn draw_from(&self, purse: &Arc<Purse>, amount: Amount, now: SystemTime) -> Option<Drawn> {
        let snapshot = self.subscription.known()?;
        if !self.may_draw(purse, &snapshot, amount) {
            return None;
        }
        let millis = self.millis();
        let familiar = purse.note_use(amount, millis);
        let drawn = purse.draw(amount, now);
        if familiar && purse.wants_more(drawn.as_ref(), millis) {
            // the keeper goes when the process does
            let _stopping = self.asks.send(Arc::clone(purse));
        }
        drawn
    }

    /// Whether the limits are what they were when the leases were taken, and allow a call of `amount`.
    fn may_draw(&self, purse: &Purse, snapshot: &Snapshot, amount: Amount) -> bool {
        let (changed, most) = purse.heed(snapshot);
        if changed {
            self.give_back(purse);
        }
        // in doubt the ledger decides, and says why
        most.is_none_or(|most| amount <= most.into())
    }

    /// The budgets of `path` are short: for a while the ledger is asked for each call.
    pub fn run_short(&self, path: &PathKey) {
        if let Some(purse) = self.purses.get(path) {
            purse.pause(self.millis(), SHORT_OF_MONEY);
        }
    }

    /// A tenant's quota is short: the same.
    pub fn run_short_of(&self, tenant: TenantId, quota: Quota) {
        if let Some(purse) = self.quotas.get(&(tenant, quota)) {
            purse.pause(self.millis(), SHORT_OF_MONEY);
        }
    }

    /// Ends a draw, of which `spent` is gone.
    pub fn end(&self, drawn: &Drawn, spent: Amount) {
        drawn.lease.pocket.end(drawn.amount, spent);
        if drawn.lease.pocket.is_closed() {
            self.returns.notify_one();
        }
    }

    /// Closes the leases of `purse`.
    fn give_back(&self, purse: &Purse) {
        self.close(purse.take());
    }

    fn close(&self, leases: Vec<Arc<Lease>>) {
        if leases.is_empty() {
            return;
        }
        leases.iter().for_each(|lease| lease.pocket.close());
        self.closing().extend(leases);
        self.returns.notify_one();
    }

    /// Writes down what closed leases have to return.
    fn sweep(&self) {
        let mut returned = Vec::new();
        self.closing().retain(|lease| {
            let Some(back) = lease.pocket.sweep() else { return true };
            if back.is_news || back.closes {
                let message =
                    LeaseReturn { lease_id: lease.id.clone(), returned: back.amount.0, closes: back.closes };
                returned.push((lease.tenant, Entry { entry: Some(Value::Returned(message)) }));
            }
            !back.closes
        });
        if !returned.is_empty() {
            self.journal.put(returned);
            // somebody may be waiting for the money
            self.journal.hurry();
        }
    }

    /// Has a lease of the day of `now` on `path`, as if the ledger had granted it.
    #[cfg(feature = "testing")]
    pub fn grant(&self, path: &PathKey, granted: Amount, now: SystemTime) {
        let day = embermesh_escrow::day_of(now).to_string();
        if let Some(lease) =
            Lease::new(String::from("0192d5a0-0000-7000-8000-0000000000aa"), path.tenant, day, granted)
        {
            self.purse(path).add(lease);
        }
    }

    fn closing(&self) -> MutexGuard<'_, Vec<Arc<Lease>>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn purse(&self, path: &PathKey) -> Arc<Purse> {
        self.purses.get_or_make(path, || Purse::new(path.tenant, path.path(), self.millis()))
    }

    fn all(&self) -> Vec<Arc<Purse>> {
        let mut all = self.purses.all();
        all.extend(self.quotas.all());
        all
    }

    /// Since the start.
    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
