//! What must hold.

use std::collections::BTreeMap;

use embermesh_escrow::{Path, day_of};
use embermesh_types::NanoUsd;

use super::world::{Tally, World};
use crate::domain::{
    attempt::State,
    balance::{Balance, BalanceKey},
    work::{Answer, Fate, Operation},
};

impl World {
    /// The books count all that was truly spent or may yet be.
    pub(super) fn check_covered(&self, path: &Path) {
        for key in BalanceKey::all(path, day_of(self.now.into())) {
            let truth = self.truth.of(path, key.scope, key.period, key.start);
            let used = self.held.balances.get(&key).copied().unwrap_or_default().used();
            assert!(used.0 >= truth, "seed {}: {key:?} counts {used:?} of {truth}", self.seed);
        }
    }

    /// With all routers heard, nobody is refused whose call the budgets would bear; while routers are gone, nobody while a twentieth
    /// of the budget is free.
    pub(super) fn check_refusal(&self, path: &Path, bound: NanoUsd, all_answer: bool) {
        let day = day_of(self.now.into());
        let limits = self.limits[path].over();
        let rightly = limits.iter().any(|limit| {
            let key = BalanceKey::new(path, limit.scope, limit.period, day);
            if all_answer {
                return limit.amount.0 - self.truth.of(path, limit.scope, limit.period, day) < bound.0;
            }
            // what those who are gone have under way counts at its bound
            let outside = self.held.balances.get(&key).copied().unwrap_or_default().outside_leases();
            limit.amount.0 - outside.0 < bound.0.max(limit.amount.0 / 20)
        });
        // leases of a limit that was lowered may hold more than their share of the new one
        let standing = limits.iter().map(|limit| {
            let key = BalanceKey::new(path, limit.scope, limit.period, day);
            let truth = self.truth.of(path, limit.scope, limit.period, day);
            (limit, truth, self.held.balances.get(&key).copied())
        });
        let standing: Vec<_> = standing.collect();
        assert!(
            rightly || !self.steady && !all_answer,
            "seed {}: {bound:?} is refused with money left, all answer: {all_answer}: {standing:?}",
            self.seed
        );
    }

    /// Balances are what attempts and leases add up to.
    pub(super) fn check_sums(&self) {
        if !self.calls.len().is_multiple_of(200) {
            return;
        }
        self.assert_sums();
    }

    fn assert_sums(&self) {
        let mut sums: BTreeMap<BalanceKey, Balance> = BTreeMap::new();
        for attempt in self.held.attempts.values() {
            let part = &attempt.parts[0];
            for key in BalanceKey::all(&part.path(&attempt.provider), attempt.day) {
                let sum = sums.entry(key).or_default();
                match attempt.amount {
                    Some(amount) => sum.spent.0 += amount.0,
                    None if part.lease.is_none() => sum.reserved.0 += attempt.reserved.0,
                    None => {}
                }
            }
        }
        for lease in self.held.leases.values() {
            for key in BalanceKey::all(&lease.path, lease.day) {
                let sum = sums.entry(key).or_default();
                sum.leased.0 += lease.leased();
                sum.presumed.0 += lease.presumed();
            }
        }
        for (key, balance) in &self.held.balances {
            assert_eq!(sums.remove(key).unwrap_or_default(), *balance, "seed {}: {key:?}", self.seed);
        }
        assert!(sums.values().all(|sum| *sum == Balance::default()), "seed {}: {sums:?}", self.seed);
    }

    /// Everything is told, and told again; then the books are what the provider saw.
    pub(super) fn end(mut self) -> Tally {
        while !self.dead.is_empty() {
            self.replay();
        }
        for at in 0..self.routers.len() {
            while !self.routers[at].open.is_empty() {
                self.end_one(at);
            }
            self.routers[at].close(self.now, |_| true);
        }
        self.post_all();
        for at in 0..self.routers.len() {
            let session = self.routers[at].journal.session;
            assert_eq!(self.commit(Operation::Session(session, Fate::Closed)), Ok(Answer::Done));
        }
        let before = self.held.balances.clone();
        self.tell_again();
        assert_eq!(self.held.balances, before, "seed {}: what was told twice counts twice", self.seed);
        self.assert_sums();
        self.assert_each_call_is_booked_once();
        for (key, balance) in &self.held.balances {
            assert_eq!((balance.reserved.0, balance.leased.0), (0, 0), "seed {}: {key:?}", self.seed);
            assert!(balance.presumed.0 == 0 || !self.lost.is_empty(), "seed {}: {key:?}", self.seed);
        }
        if self.lost.is_empty() {
            for ((scope, subject, period, start), truth) in self.truth.all() {
                let key =
                    BalanceKey { scope: *scope, subject: subject.clone(), period: *period, start: *start };
                assert_eq!(self.held.balances[&key].spent.0, truth, "seed {}: {key:?}", self.seed);
            }
        }
        self.tally
    }

    fn assert_each_call_is_booked_once(&self) {
        for (session, call) in self.calls.values() {
            if self.lost.contains(session) {
                continue;
            }
            let attempt = &self.held.attempts[&call.attempt];
            assert_ne!(attempt.state, State::Reserved, "seed {}: {call:?}", self.seed);
            let cost = call.cost.unwrap_or(call.bound);
            assert_eq!(attempt.amount, Some(cost), "seed {}: {call:?} is {attempt:?}", self.seed);
        }
        let known = self.held.attempts.keys().all(|id| self.calls.contains_key(id));
        assert!(known, "seed {}: an attempt that no provider saw", self.seed);
    }
}
