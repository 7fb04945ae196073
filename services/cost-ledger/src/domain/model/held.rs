//! Books in memory: what the tables hold, with every write checked as the tables check it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use embermesh_escrow::{Account, Amount, Limits, Path, day_of};
use embermesh_types::AttemptId;
use jiff::Timestamp;

use crate::domain::{
    attempt::Attempt,
    balance::{Balance, BalanceKey},
    books::{Books, Loaded, Writes},
    ids::{LeaseId, SessionId},
    lease::Lease,
    post::Entry,
    settlement::Charge,
    work::{Fate, Operation, Outcome},
};

#[derive(Debug, Default)]
pub(super) struct Held {
    pub attempts: HashMap<AttemptId, Attempt>,
    pub charges: HashMap<AttemptId, Vec<Charge>>,
    pub leases: BTreeMap<LeaseId, Lease>,
    pub balances: BTreeMap<BalanceKey, Balance>,
    fates: HashMap<SessionId, Fate>,
}

impl Held {
    /// One transaction.
    pub fn commit(
        &mut self,
        operations: &[Operation],
        limits: &HashMap<Path, Limits>,
        now: Timestamp,
    ) -> Vec<Outcome> {
        for operation in operations {
            if let Operation::Session(session, fate) = operation {
                self.fates.insert(*session, *fate);
            }
        }
        let loaded = self.load(operations, now);
        let limits_of = |path: &Path| limits.get(path).cloned();
        let mut books = Books::new(loaded, &limits_of, now.into());
        let operations: Vec<&Operation> = operations.iter().collect();
        let outcomes = books.decide(&operations, Vec::<Account>::new);
        let writes = books.into_writes();
        self.write(writes);
        outcomes
    }

    fn load(&self, operations: &[Operation], now: Timestamp) -> Loaded {
        let (mut attempts, mut leases, mut sessions) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut balances = HashMap::new();
        let mut admit = |path: &Path| {
            for key in BalanceKey::all(path, day_of(now.into())) {
                let balance = self.balances.get(&key).copied().unwrap_or_default();
                balances.insert(key, balance);
            }
        };
        for operation in operations {
            match operation {
                Operation::Reserve(reserve) => {
                    attempts.insert(reserve.attempt);
                    reserve.parts.iter().for_each(|part| admit(&reserve.path(part)));
                }
                Operation::Lease(ask) => {
                    leases.insert(ask.lease);
                    admit(&ask.path);
                }
                Operation::Settle(settlement) => drop(attempts.insert(settlement.attempt)),
                Operation::Presume(attempted) => drop(attempts.insert(attempted.attempt)),
                Operation::Session(session, fate) => sessions.push((*session, *fate)),
                Operation::Post(post) => {
                    for (_, entry) in &post.entries {
                        match entry {
                            Entry::Reserved(reserve) => {
                                attempts.insert(reserve.attempt);
                                leases.extend(reserve.parts.iter().filter_map(|part| part.lease));
                            }
                            Entry::Settled(settlement) => drop(attempts.insert(settlement.attempt)),
                            Entry::Presumed(attempted) => drop(attempts.insert(attempted.attempt)),
                            Entry::Returned(returned) => drop(leases.insert(returned.lease)),
                            Entry::Used(used) => drop(leases.insert(used.lease)),
                            Entry::Hit(_) => {}
                        }
                    }
                }
            }
        }
        let held: Vec<Attempt> = attempts.iter().filter_map(|id| self.attempts.get(id).cloned()).collect();
        leases.extend(held.iter().flat_map(|attempt| &attempt.parts).filter_map(|part| part.lease));
        for (session, _) in &sessions {
            leases
                .extend(self.leases.values().filter(|lease| lease.session == *session).map(|lease| lease.id));
        }
        Loaded {
            charges: attempts.iter().filter_map(|id| Some((*id, self.charges.get(id)?.clone()))).collect(),
            attempts: held,
            leases: leases.iter().filter_map(|id| self.leases.get(id).cloned()).collect(),
            balances,
            fates: sessions,
        }
    }

    fn write(&mut self, writes: Writes<'_>) {
        for known in writes.attempts {
            let begun = self.attempts.contains_key(&known.attempt.id);
            assert_eq!(known.begins.is_none(), begun, "an attempt begins once: {:?}", known.attempt.id);
            if let Some(end) = known.ends {
                let mut charges = end.charges.clone();
                charges.sort();
                let before = self.charges.insert(known.attempt.id, charges);
                assert!(before.is_none(), "an attempt ends once: {:?}", known.attempt.id);
            }
            self.attempts.insert(known.attempt.id, known.attempt);
        }
        for kept in writes.leases {
            assert_eq!(kept.before.as_ref(), self.leases.get(&kept.now.id), "a lease was changed unseen");
            self.leases.insert(kept.now.id, kept.now);
        }
        for (key, delta) in writes.balances {
            let balance = self.balances.entry(key.clone()).or_default();
            if delta.admitted > 0 {
                let used = balance.used().0 + delta.admitted;
                assert!(delta.limit.is_none_or(|limit| used <= limit), "{key:?} passes its limit: {delta:?}");
            }
            let add = |to: &mut Amount, nanos: i64| {
                to.0 += nanos;
                assert!(to.0 >= 0, "{key:?} falls below nothing");
            };
            add(&mut balance.spent, delta.spent);
            add(&mut balance.reserved, delta.reserved);
            add(&mut balance.leased, delta.leased);
            add(&mut balance.presumed, delta.presumed);
        }
    }
}
