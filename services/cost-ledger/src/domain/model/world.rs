//! Routers, a ledger, a provider and a clock, and what may happen between them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use embermesh_errors::Code;
use embermesh_escrow::{Account, Amount, Limits, Path, Pocket, Scope, day_of};
use embermesh_proto::v1::BudgetRule;
use embermesh_types::{AttemptId, NanoUsd};
use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::{
    calls::{Call, Truth, later},
    held::Held,
    router::{self, Journal, Router},
};
use crate::domain::{
    attempt::State,
    ids::{LeaseId, SessionId},
    lease_ask::LeaseAsk,
    post::{Entry, Returned},
    work::{Answer, Fate, Operation, Outcome},
};

const ROUTERS: usize = 10;
/// Calls that a router has under way at most.
const UNDER_WAY: usize = 12;

/// How often what happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub leased: u64,
    pub direct: u64,
    pub refused: u64,
    pub called_back: u64,
    pub kills: u64,
    pub losses: u64,
    pub repeats: u64,
    pub midnights: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.leased += other.leased;
        self.direct += other.direct;
        self.refused += other.refused;
        self.called_back += other.called_back;
        self.kills += other.kills;
        self.losses += other.losses;
        self.repeats += other.repeats;
        self.midnights += other.midnights;
    }
}

pub(super) struct World {
    pub seed: u64,
    pub rng: StdRng,
    pub now: Timestamp,
    pub held: Held,
    pub routers: Vec<Router>,
    /// Of routers that were killed and not started again.
    pub dead: Vec<Journal>,
    /// Of routers that are done.
    pub told: Vec<Journal>,
    /// Of machines that are gone, with a part of their journals.
    pub lost: BTreeSet<SessionId>,
    silent: BTreeSet<SessionId>,
    pub budgets: Vec<BudgetRule>,
    pub limits: HashMap<Path, Limits>,
    pub truth: Truth,
    pub calls: BTreeMap<AttemptId, (SessionId, Call)>,
    /// Limits stay as they are.
    pub steady: bool,
    pub tally: Tally,
    number: u128,
}

fn paths() -> Vec<Path> {
    let mut paths = Vec::new();
    for (agent, key) in [("a", "k1"), ("a", "k2"), ("b", "k1"), ("c", "k2")] {
        for provider in ["x", "y"] {
            let (agent, key) = (agent.parse().unwrap(), key.parse().unwrap());
            paths.push(Path::Money { agent, key, provider: provider.to_owned() });
        }
    }
    paths
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let scopes = [
            ("tenant", "", "month"),
            ("agent", "a", "day"),
            ("provider", "x", "day"),
            ("key", "k1", "month"),
        ];
        let budgets = scopes.map(|(scope, subject, period)| BudgetRule {
            scope: scope.to_owned(),
            subject: subject.to_owned(),
            period: period.to_owned(),
            limit_nano_usd: rng.random_range(if period == "day" {
                40_000..200_000
            } else {
                800_000..4_000_000
            }),
            ..BudgetRule::default()
        });
        let mut world = Self {
            seed,
            rng,
            now: "2026-11-29T20:00:00Z".parse().unwrap(),
            held: Held::default(),
            routers: Vec::new(),
            dead: Vec::new(),
            told: Vec::new(),
            lost: BTreeSet::new(),
            silent: BTreeSet::new(),
            budgets: budgets.to_vec(),
            limits: HashMap::new(),
            truth: Truth::default(),
            calls: BTreeMap::new(),
            steady: seed.is_multiple_of(2),
            tally: Tally::default(),
            number: 0,
        };
        world.configure();
        for _ in 0..ROUTERS {
            world.start_router();
        }
        world
    }

    fn configure(&mut self) {
        self.limits =
            paths().into_iter().map(|path| (path.clone(), Limits::of(&path, None, &self.budgets))).collect();
    }

    fn start_router(&mut self) {
        let session = SessionId::new(Uuid::from_u128(self.next()));
        self.routers.push(Router::new(session));
    }

    fn next(&mut self) -> u128 {
        self.number += 1;
        self.number
    }

    pub fn commit(&mut self, operation: Operation) -> Outcome {
        self.held.commit(&[operation], &self.limits, self.now).remove(0)
    }

    /// Something happens.
    pub fn step(&mut self) {
        let at = self.rng.random_range(0..self.routers.len());
        match self.rng.random_range(0..10_000) {
            0..4_200 => self.call(at),
            4_200..8_200 => self.end_one(at),
            8_200..8_700 => self.ask_for_lease(at),
            8_700..9_500 => self.post_some(at),
            9_500..9_700 => self.post_again(at),
            9_700..9_800 => self.routers[at].close(self.now, |_| true),
            9_800..9_840 => self.kill(at),
            9_840..9_900 => self.replay(),
            9_900..9_903 => self.lose_machine(at),
            9_903..9_940 => self.fall_silent(at),
            9_940..9_960 => self.wait(),
            9_960..9_970 => self.change_a_limit(),
            _ => self.check_sums(),
        }
    }

    fn call(&mut self, at: usize) {
        if self.routers[at].open.len() >= UNDER_WAY {
            return self.end_one(at);
        }
        let all = paths();
        let path = all[self.rng.random_range(0..all.len())].clone();
        let bound = NanoUsd(self.rng.random_range(1..200));
        let lease = self.routers[at].draw(&path, self.now, bound);
        let call = Call::new(self.next(), self.now, path, bound, lease);
        let session = self.routers[at].journal.session;
        if lease.is_some() {
            let entry = Entry::Reserved(call.reserve(session, false));
            self.routers[at].journal.entries.push(entry);
            self.tally.leased += 1;
        } else {
            if !self.reserve(at, &call) {
                self.tally.refused += 1;
                return;
            }
            self.tally.direct += 1;
        }
        self.truth.add(&call, call.bound.0);
        self.calls.insert(call.attempt, (session, call.clone()));
        self.check_covered(&call.path);
        self.routers[at].open.insert(call.attempt, call);
    }

    /// Straight from the budgets, after what others hold idle was called back.
    fn reserve(&mut self, at: usize, call: &Call) -> bool {
        let session = self.routers[at].journal.session;
        self.hear(session);
        let all_answer = self.dead.is_empty() && self.lost.is_empty() && self.silent.is_empty();
        let waits = match self.commit(Operation::Reserve(call.reserve(session, true))) {
            Ok(Answer::Reserved(refused)) => {
                assert!(refused.is_empty(), "a lone part is let in or refused as a whole");
                return true;
            }
            Ok(Answer::Waits(accounts)) => accounts,
            Err(error) => {
                assert_eq!(error.code, Code::BudgetExceeded);
                Vec::new()
            }
            other => panic!("{other:?}"),
        };
        self.tally.called_back += u64::from(!waits.is_empty());
        let touches =
            |path: &Path| waits.iter().any(|account: &Account| path.account(account.scope) == *account);
        for router in &mut self.routers {
            router.close(self.now, |held| touches(&held.path));
            // it is called back by a name that the router knows, though not what was granted
            if let Some((lease, _)) = router.unanswered.take_if(|(_, path)| touches(path)) {
                let unspent = Returned { lease, amount: Amount::ZERO, closes: true };
                let granted = self.held.leases.contains_key(&lease);
                router.journal.entries.extend(granted.then_some(Entry::Returned(unspent)));
            }
        }
        self.post_all();
        match self.commit(Operation::Reserve(call.reserve(session, false))) {
            Ok(Answer::Reserved(_)) => true,
            Err(_) => {
                self.check_refusal(&call.path, call.bound, all_answer);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn end_one(&mut self, at: usize) {
        let Some(id) = self.routers[at].open.keys().next().copied() else { return };
        let call = self.routers[at].open.remove(&id).unwrap();
        let (outcome, cost) = match self.rng.random_range(0..10) {
            0 => (State::Voided, NanoUsd::ZERO),
            1 => (State::Presumed, call.bound),
            _ => (State::Settled, NanoUsd(self.rng.random_range(0..=call.bound.0))),
        };
        let router = &mut self.routers[at];
        router.journal.entries.push(Entry::Settled(call.settlement(outcome, cost)));
        router.end(&call, cost);
        self.truth.add(&call, cost.0 - call.bound.0);
        self.calls.get_mut(&id).unwrap().1.cost = Some(cost);
        self.check_covered(&call.path);
    }

    fn ask_for_lease(&mut self, at: usize) {
        let all = paths();
        let (lease, path) = match self.routers[at].unanswered.take() {
            Some(again) => again,
            None => {
                (LeaseId::new(Uuid::from_u128(self.next())), all[self.rng.random_range(0..all.len())].clone())
            }
        };
        let session = self.routers[at].journal.session;
        self.hear(session);
        let ask = LeaseAsk {
            lease,
            session,
            path: path.clone(),
            least: Amount(self.rng.random_range(1..200)),
            wanted: Amount(self.rng.random_range(200..5_000)),
            call: None,
        };
        let answer = self.commit(Operation::Lease(ask));
        if self.rng.random_ratio(1, 20) {
            self.routers[at].unanswered = Some((lease, path));
            return;
        }
        let Ok(Answer::Leased(grant)) = answer else { panic!("{answer:?}") };
        if grant.amount > Amount::ZERO {
            let pocket = Pocket::new(grant.amount);
            self.routers[at].leases.push(router::Held { id: lease, path, day: grant.day, pocket });
        }
    }

    fn post(&mut self, journal: &Journal, from: usize, to: usize) {
        self.hear(journal.session);
        let answer = self.commit(Operation::Post(journal.post(from, to)));
        assert_eq!(answer, Ok(Answer::Posted(Vec::new())), "seed {}", self.seed);
    }

    fn post_some(&mut self, at: usize) {
        let journal = self.routers[at].journal.clone_from_posted();
        let to = self.rng.random_range(0..=journal.entries.len());
        self.post(&journal, 0, to);
        // an answer that is lost is posted again
        if self.rng.random_ratio(9, 10) {
            self.routers[at].journal.posted += to;
        }
    }

    pub fn post_all(&mut self) {
        for at in 0..self.routers.len() {
            let journal = self.routers[at].journal.clone_from_posted();
            self.post(&journal, 0, journal.entries.len());
            self.routers[at].journal.posted += journal.entries.len();
        }
    }

    /// What was posted long ago, once more.
    fn post_again(&mut self, at: usize) {
        let posted = self.routers[at].journal.posted;
        let from = self.rng.random_range(posted.saturating_sub(60)..=posted);
        let to = self.rng.random_range(from..=posted);
        let journal = self.routers[at].journal.clone_range(from, to);
        self.post(&journal, 0, journal.entries.len());
        self.tally.repeats += 1;
    }

    fn kill(&mut self, at: usize) {
        let router = self.routers.swap_remove(at);
        self.dead.push(router.journal);
        self.start_router();
        self.tally.kills += 1;
    }

    /// A router that was killed is started again, and tells what it had written down.
    pub fn replay(&mut self) {
        let Some(journal) = self.dead.pop() else { return };
        let from = self.rng.random_range(0..=journal.posted);
        self.post(&journal, from, journal.entries.len());
        let direct = self.direct_without_end(&journal);
        let mut rest = Journal { session: journal.session, entries: journal.open(), posted: 0 };
        rest.entries.extend(direct);
        self.post(&rest, 0, rest.entries.len());
        let closed = self.commit(Operation::Session(journal.session, Fate::Closed));
        assert_eq!(closed, Ok(Answer::Done));
        self.told.push(journal);
    }

    /// The machine is gone, with what it had not posted and more that it had; its leases stay presumed.
    fn lose_machine(&mut self, at: usize) {
        let router = self.routers.swap_remove(at);
        let session = router.journal.session;
        let lost = self.commit(Operation::Session(session, Fate::Lost));
        assert_eq!(lost, Ok(Answer::Done));
        // the sweeper ends what it left open
        for entry in self.direct_without_end(&router.journal).into_iter().chain(router.journal.open()) {
            let Entry::Presumed(attempted) = entry else { continue };
            assert_eq!(self.commit(Operation::Presume(attempted)), Ok(Answer::Done));
        }
        let settled_unposted = router.journal.entries[router.journal.posted..].iter();
        for entry in settled_unposted.cloned().collect::<Vec<_>>() {
            if let Entry::Settled(settlement) = entry {
                let attempted = super::calls::attempted(settlement.attempt, settlement.created_at);
                assert_eq!(self.commit(Operation::Presume(attempted)), Ok(Answer::Done));
            }
        }
        self.lost.insert(session);
        self.start_router();
        self.tally.losses += 1;
    }

    /// Attempts that were reserved one by one and have no end in the journal.
    fn direct_without_end(&self, journal: &Journal) -> Vec<Entry> {
        let ended: BTreeSet<AttemptId> = journal
            .entries
            .iter()
            .filter_map(|entry| if let Entry::Settled(one) = entry { Some(one.attempt) } else { None })
            .collect();
        let of_session = self.calls.values().filter(|(session, _)| *session == journal.session);
        let direct = of_session.filter(|(_, call)| call.lease.is_none() && !ended.contains(&call.attempt));
        direct
            .map(|(_, call)| Entry::Presumed(super::calls::attempted(call.attempt, call.at.into())))
            .collect()
    }

    /// Everything once more, the last router first.
    pub fn tell_again(&mut self) {
        let live: Vec<Journal> = self.routers.iter().map(|router| router.journal.clone()).collect();
        let told = std::mem::take(&mut self.told);
        for journal in live.iter().chain(&told).rev() {
            self.post(journal, 0, journal.entries.len());
        }
    }

    fn fall_silent(&mut self, at: usize) {
        let session = self.routers[at].journal.session;
        assert_eq!(self.commit(Operation::Session(session, Fate::Lost)), Ok(Answer::Done));
        self.silent.insert(session);
    }

    /// Whoever calls the ledger is alive.
    fn hear(&mut self, session: SessionId) {
        if self.silent.remove(&session) {
            assert_eq!(self.commit(Operation::Session(session, Fate::Found)), Ok(Answer::Done));
        }
    }

    fn wait(&mut self) {
        let before = day_of(self.now.into());
        self.now = later(self.now, Duration::from_secs(self.rng.random_range(1..4 * 3_600)));
        if day_of(self.now.into()) != before {
            self.tally.midnights += 1;
            for router in &mut self.routers {
                router.close(self.now, |_| false);
            }
        }
    }

    fn change_a_limit(&mut self) {
        if self.steady {
            return;
        }
        let at = self.rng.random_range(0..self.budgets.len());
        let most = if self.budgets[at].period == "day" { 200_000 } else { 4_000_000 };
        self.budgets[at].limit_nano_usd = self.rng.random_range(0..most);
        self.configure();
        let scope = Scope::parse(&self.budgets[at].scope).unwrap();
        let subject = self.budgets[at].subject.clone();
        for router in &mut self.routers {
            router.close(self.now, |held| held.path.subject(scope) == subject);
        }
    }
}
