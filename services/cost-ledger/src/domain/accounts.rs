//! One tenant's balances during a transaction: who is let in, and what is to be added up.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use embermesh_errors::Error;
use embermesh_escrow::{Account, Amount, Funds, Limits, Path, Used, day_of, over_request, slice, used_up};
use jiff::civil::Date;

use super::{
    balance::{Balance, BalanceKey, Delta},
    lease_ask::{Grant, LeaseAsk},
};

/// How long a router is not to ask again, when a lease of use is too large for a budget, or for what is left of it.
const NEVER_MS: u32 = 60_000;
const LATER_MS: u32 = 2_000;

/// The limits of a path, `None` while they are not known.
pub(crate) type LimitsOf<'a> = dyn Fn(&Path) -> Option<Limits> + Send + Sync + 'a;

/// Why there is no room.
#[derive(Debug)]
pub(crate) struct Shortage {
    pub(crate) why: Error,
    /// Accounts whose leases would make room, all of them together. Empty when they would not.
    pub(crate) in_leases: Vec<Account>,
}

/// What a path's accounts gain in a day.
#[derive(Debug, Clone, Copy, Default)]
struct Move {
    spent: i64,
    reserved: i64,
    leased: i64,
    presumed: i64,
}

/// What was let in under a limit.
#[derive(Debug, Clone, Copy, Default)]
struct Admitted {
    amount: i64,
    /// The part that was leased.
    leased: i64,
    limit: i64,
}

/// Balances as they were locked, and what has been decided since.
pub(crate) struct Accounts<'a> {
    locked: HashMap<BalanceKey, Balance>,
    limits_of: &'a LimitsOf<'a>,
    now: SystemTime,
    limits: HashMap<Path, Option<Arc<Limits>>>,
    moves: HashMap<(Path, Date), Move>,
    admitted: HashMap<BalanceKey, Admitted>,
}

impl<'a> Accounts<'a> {
    pub(crate) fn new(
        locked: HashMap<BalanceKey, Balance>,
        limits_of: &'a LimitsOf<'a>,
        now: SystemTime,
    ) -> Self {
        let (limits, moves, admitted) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { locked, limits_of, now, limits, moves, admitted }
    }

    /// Sets `amount` aside now, or says why not. Without knowing the limits nothing that costs is let in.
    pub(crate) fn set_aside(&mut self, path: &Path, amount: Amount) -> Result<(), Shortage> {
        self.let_in(path, amount, |one| one.reserved += amount.0)
    }

    /// Spends `amount` now, or says why not.
    pub(crate) fn spend_now(&mut self, path: &Path, amount: Amount) -> Result<(), Shortage> {
        self.let_in(path, amount, |one| one.spent += amount.0)
    }

    fn let_in(&mut self, path: &Path, amount: Amount, book: impl Fn(&mut Move)) -> Result<(), Shortage> {
        let never = |why| Shortage { why, in_leases: Vec::new() };
        let Some(limits) = self.limits(path) else {
            if amount == Amount::ZERO {
                return Ok(());
            }
            let message = "the ledger does not know the budgets yet, try again once it has reached admin";
            return Err(never(Error::unavailable(message)));
        };
        if let Some(limit) = limits.request().filter(|limit| amount.nano_usd() > *limit) {
            return Err(never(over_request(limit, amount.nano_usd())));
        }
        // what costs nothing passes no limit, and must not wait for anybody's lock
        if amount == Amount::ZERO {
            return Ok(());
        }
        let day = day_of(self.now);
        let (mut first, mut in_leases, mut hopeless) = (None, Vec::new(), false);
        for limit in limits.over() {
            let key = BalanceKey::new(path, limit.scope, limit.period, day);
            let (balance, admitted) = self.balance(&key);
            let over = |used: Amount| {
                let sum = used.0.checked_add(admitted.amount).and_then(|used| used.checked_add(amount.0));
                sum.is_none_or(|sum| sum > limit.amount.0)
            };
            if over(balance.used()) {
                hopeless |= over(balance.outside_leases());
                in_leases.push(path.account(limit.scope));
                first.get_or_insert_with(|| {
                    let reserved = balance.set_aside().0.saturating_add(admitted.amount);
                    let used = Used { spent: balance.spent, reserved: Amount(reserved) };
                    let subject = path.subject(limit.scope);
                    used_up((limit.scope, subject), (limit.period, day), limit.amount, used, self.now)
                });
            }
        }
        if let Some(why) = first {
            return Err(if hopeless { never(why) } else { Shortage { why, in_leases } });
        }
        self.admit(path, &limits, day, |admitted| admitted.amount += amount.0);
        self.add(path, day, book);
        Ok(())
    }

    /// Undoes [`Self::set_aside`].
    pub(crate) fn take_back(&mut self, path: &Path, amount: Amount) {
        if amount == Amount::ZERO {
            return;
        }
        let day = day_of(self.now);
        if let Some(limits) = self.limits(path) {
            self.admit(path, &limits, day, |admitted| admitted.amount -= amount.0);
        }
        self.add(path, day, |one| one.reserved -= amount.0);
    }

    /// How large a lease there may be; it counts from now on.
    pub(crate) fn lease(&mut self, ask: &LeaseAsk) -> Grant {
        let day = day_of(self.now);
        let none = |ask_again_ms| Grant { amount: Amount::ZERO, day, ask_again_ms };
        let Some(limits) = self.limits(&ask.path) else { return none(LATER_MS) };
        let funds: Vec<Funds> = limits
            .over()
            .iter()
            .map(|limit| {
                let key = BalanceKey::new(&ask.path, limit.scope, limit.period, day);
                let (balance, admitted) = self.balance(&key);
                Funds {
                    limit: limit.amount,
                    used: Amount(balance.used().0.saturating_add(admitted.amount)),
                    leased: Amount(balance.leased.0.saturating_add(admitted.leased)),
                }
            })
            .collect();
        let Some(amount) = slice(ask.least, ask.wanted, funds) else {
            let untouched = limits.over().iter().map(|limit| Funds {
                limit: limit.amount,
                used: Amount::ZERO,
                leased: Amount::ZERO,
            });
            let ever = slice(ask.least, ask.least, untouched).is_some();
            return none(if ever { LATER_MS } else { NEVER_MS });
        };
        self.admit(&ask.path, &limits, day, |admitted| {
            admitted.amount += amount.0;
            admitted.leased += amount.0;
        });
        Grant { amount, day, ask_again_ms: 0 }
    }

    /// `amount` of a path's `day`, reserved by itself, is not set aside any more.
    pub(crate) fn release(&mut self, path: &Path, day: Date, amount: Amount) {
        self.add(path, day, |one| one.reserved -= amount.0);
    }

    /// A path is charged on a day; less than nothing where it had said too much.
    pub(crate) fn spend(&mut self, path: &Path, day: Date, amount: Amount) {
        self.add(path, day, |one| one.spent += amount.0);
    }

    /// What lies in a path's leases of a day has grown by so much, or shrunk.
    pub(crate) fn lease_moves(&mut self, path: &Path, day: Date, leased: i64, presumed: i64) {
        if leased != 0 || presumed != 0 {
            self.add(path, day, |one| {
                one.leased += leased;
                one.presumed += presumed;
            });
        }
    }

    /// Everything to write.
    pub(crate) fn into_deltas(self) -> BTreeMap<BalanceKey, Delta> {
        let mut deltas: BTreeMap<BalanceKey, Delta> = BTreeMap::new();
        for ((path, day), one) in self.moves {
            for key in BalanceKey::all(&path, day) {
                let delta = deltas.entry(key).or_default();
                delta.spent += one.spent;
                delta.reserved += one.reserved;
                delta.leased += one.leased;
                delta.presumed += one.presumed;
            }
        }
        for (key, admitted) in self.admitted {
            let delta = deltas.entry(key).or_default();
            delta.admitted = admitted.amount;
            delta.limit = Some(admitted.limit);
        }
        // what is free has no balance, and nobody's lock
        deltas.retain(|_, delta| !delta.is_nothing());
        deltas
    }

    fn limits(&mut self, path: &Path) -> Option<Arc<Limits>> {
        if let Some(known) = self.limits.get(path) {
            return known.clone();
        }
        let limits = (self.limits_of)(path).map(Arc::new);
        self.limits.insert(path.clone(), limits.clone());
        limits
    }

    /// As it is for a reader now. Who comes in is decided before anything is freed, so only what is let in counts.
    fn balance(&self, key: &BalanceKey) -> (Balance, Admitted) {
        let balance = self.locked.get(key).copied().unwrap_or_default();
        (balance, self.admitted.get(key).copied().unwrap_or_default())
    }

    fn admit(&mut self, path: &Path, limits: &Limits, day: Date, change: impl Fn(&mut Admitted)) {
        for limit in limits.over() {
            let key = BalanceKey::new(path, limit.scope, limit.period, day);
            let admitted = self.admitted.entry(key).or_default();
            admitted.limit = limit.amount.0;
            change(admitted);
        }
    }

    fn add(&mut self, path: &Path, day: Date, change: impl Fn(&mut Move)) {
        change(self.moves.entry((path.clone(), day)).or_default());
    }
}

/// Whether one of the accounts is a path's.
pub(crate) fn touches<'a>(path: &Path, mut accounts: impl Iterator<Item = &'a Account>) -> bool {
    accounts.any(|account| path.counts_in(account))
}

#[cfg(test)]
mod tests;
