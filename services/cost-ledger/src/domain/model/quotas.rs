//! A quota under random operations: requests out of leases and one by one, that take less in the end than they might, journals that are
//! posted late and twice, kill -9 and midnights.

use std::{collections::BTreeMap, time::Duration};

use embermesh_errors::Code;
use embermesh_escrow::{Amount, Draw, Limits, Path, Period, Pocket, Quota, day_of};
use embermesh_proto::v1::Quotas;
use jiff::{Timestamp, civil::Date};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::{calls::later, held::Held, router::Journal};
use crate::domain::{
    balance::BalanceKey,
    ids::{LeaseId, SessionId},
    lease_ask::{Call, LeaseAsk},
    post::{Entry, Returned, Used},
    work::{Answer, Fate, Operation, Outcome},
};

const WORLDS: u64 = 8;
const STEPS: u32 = 20_000;
const ROUTERS: usize = 4;
const UNDER_WAY: usize = 8;
const PATH: Path = Path::Quota(Quota::Tokens);

#[test]
fn random_use_of_a_quota_never_passes_it_and_ends_at_what_was_truly_used() {
    let mut all = Tally::default();
    for seed in super::first_seed()..super::first_seed() + WORLDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end(&mut all);
    }
    println!("{all:?}");
    // what never happens proves nothing
    assert!(all.leased > 5_000 && all.alone > 5_000 && all.refused > 500, "{all:?}");
    assert!(all.called_back > 10 && all.kills > 100 && all.repeats > 500 && all.midnights > 20, "{all:?}");
}

#[derive(Debug, Default)]
struct Tally {
    leased: u64,
    alone: u64,
    refused: u64,
    called_back: u64,
    kills: u64,
    repeats: u64,
    midnights: u64,
}

/// A lease in a router's hands, and what its journal says of its use.
struct Leased {
    id: LeaseId,
    day: Date,
    pocket: Pocket,
    used: i64,
    sequence: i64,
}

/// What a request took, until it has ended.
struct Taken {
    lease: LeaseId,
    day: Date,
    amount: i64,
}

struct Router {
    journal: Journal,
    leases: Vec<Leased>,
    open: Vec<Taken>,
}

struct World {
    seed: u64,
    rng: StdRng,
    now: Timestamp,
    held: Held,
    limits: std::collections::HashMap<Path, Limits>,
    routers: Vec<Router>,
    /// Of routers that were killed and not started again.
    dead: Vec<Journal>,
    told: Vec<Journal>,
    truth: BTreeMap<(Period, Date), i64>,
    tally: Tally,
    number: u128,
}

impl Router {
    fn new(session: SessionId) -> Self {
        let journal = Journal { session, entries: Vec::new(), posted: 0 };
        Self { journal, leases: Vec::new(), open: Vec::new() }
    }

    fn draw(&mut self, amount: i64, today: Date) -> Option<LeaseId> {
        let lease = self
            .leases
            .iter_mut()
            .find(|lease| lease.day == today && lease.pocket.draw(Amount(amount)) == Draw::Taken)?;
        lease.used += amount;
        lease.sequence += 1;
        let (id, used, sequence) = (lease.id, Amount(lease.used), lease.sequence);
        self.journal.entries.push(Entry::Used(Used { lease: id, amount: used, sequence }));
        Some(id)
    }

    fn end(&mut self, taken: &Taken, spent: i64) {
        let entry = match self.leases.iter_mut().find(|lease| lease.id == taken.lease) {
            Some(lease) => {
                lease.used -= taken.amount - spent;
                lease.sequence += 1;
                Used { lease: lease.id, amount: Amount(lease.used), sequence: lease.sequence }
            }
            None => Used { lease: taken.lease, amount: Amount(spent), sequence: 1 },
        };
        self.journal.entries.push(Entry::Used(entry));
        if let Some(lease) = self.leases.iter().find(|lease| lease.id == taken.lease) {
            lease.pocket.end(Amount(taken.amount), Amount(spent));
        }
        self.sweep();
    }

    fn close(&mut self, out: impl Fn(&Leased) -> bool) {
        self.leases.iter().filter(|lease| out(lease)).for_each(|lease| lease.pocket.close());
        self.sweep();
    }

    fn sweep(&mut self) {
        self.leases.retain(|lease| {
            let Some(swept) = lease.pocket.sweep() else { return true };
            let returned = Returned { lease: lease.id, amount: swept.amount, closes: swept.closes };
            self.journal.entries.push(Entry::Returned(returned));
            !swept.closes
        });
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let quotas = Quotas {
            tokens_per_day: Some(rng.random_range(3_000..9_000)),
            tokens_per_month: Some(rng.random_range(20_000..60_000)),
            ..Quotas::default()
        };
        let mut world = Self {
            seed,
            rng,
            now: "2026-11-25T20:00:00Z".parse().unwrap(),
            held: Held::default(),
            limits: [(PATH, Limits::of_quota(Quota::Tokens, Some(&quotas)))].into(),
            routers: Vec::new(),
            dead: Vec::new(),
            told: Vec::new(),
            truth: BTreeMap::new(),
            tally: Tally::default(),
            number: 0,
        };
        for _ in 0..ROUTERS {
            world.start_router();
        }
        world
    }

    fn start_router(&mut self) {
        let session = SessionId::new(self.id());
        self.routers.push(Router::new(session));
    }

    fn id(&mut self) -> Uuid {
        self.number += 1;
        Uuid::from_u128(self.number)
    }

    fn today(&self) -> Date {
        day_of(self.now.into())
    }

    fn commit(&mut self, operation: Operation) -> Outcome {
        self.held.commit(&[operation], &self.limits, self.now).remove(0)
    }

    fn step(&mut self) {
        let at = self.rng.random_range(0..self.routers.len());
        match self.rng.random_range(0..1_000) {
            0..400 => self.take(at),
            400..780 => self.end_one(at),
            780..840 => self.ask_for_lease(at),
            840..930 => self.post_some(at),
            930..960 => self.post_again(at),
            960..975 => self.routers[at].close(|_| true),
            975..983 => self.kill(at),
            983..993 => self.replay(),
            _ => self.wait(),
        }
        self.check_covered();
    }

    fn take(&mut self, at: usize) {
        if self.routers[at].open.len() >= UNDER_WAY {
            return self.end_one(at);
        }
        let (amount, today) = (self.rng.random_range(1..20), self.today());
        let lease = match self.routers[at].draw(amount, today) {
            Some(lease) => {
                self.tally.leased += 1;
                lease
            }
            None => match self.take_alone(at, amount) {
                Some(lease) => {
                    self.tally.alone += 1;
                    lease
                }
                None => {
                    self.tally.refused += 1;
                    return;
                }
            },
        };
        self.add(today, amount);
        self.routers[at].open.push(Taken { lease, day: today, amount });
    }

    /// Decided by the ledger, after what others hold idle was called back; the answer may be lost and asked for again.
    fn take_alone(&mut self, at: usize, amount: i64) -> Option<LeaseId> {
        let (lease, session) = (LeaseId::new(self.id()), self.routers[at].journal.session);
        let ask = |may_wait| {
            let (least, wanted) = (Amount(amount), Amount(amount));
            Operation::Lease(LeaseAsk {
                lease,
                session,
                path: PATH,
                least,
                wanted,
                call: Some(Call { may_wait }),
            })
        };
        let mut answer = self.commit(ask(true));
        if let Ok(Answer::Waits(accounts)) = &answer {
            assert!(accounts.iter().all(|account| PATH.counts_in(account)), "{accounts:?}");
            self.tally.called_back += 1;
            for router in &mut self.routers {
                router.close(|_| true);
            }
        }
        if !matches!(answer, Ok(Answer::Leased(_))) {
            // what calls did not take in the end may not have been told yet
            self.post_all();
            answer = self.commit(ask(false));
        }
        match answer {
            Ok(Answer::Leased(grant)) => {
                assert_eq!((grant.amount, grant.day), (Amount(amount), self.today()));
                if self.rng.random_ratio(1, 10) {
                    assert_eq!(self.commit(ask(true)), Ok(Answer::Leased(grant)), "seed {}", self.seed);
                }
                Some(lease)
            }
            Err(error) => {
                assert_eq!(error.code, Code::QuotaExceeded);
                assert!(error.retry_after.is_some());
                self.check_refusal(amount);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn end_one(&mut self, at: usize) {
        let Some(taken) = self.routers[at].open.pop() else { return };
        let spent = if self.rng.random() { taken.amount } else { self.rng.random_range(0..=taken.amount) };
        self.routers[at].end(&taken, spent);
        self.add(taken.day, spent - taken.amount);
    }

    fn ask_for_lease(&mut self, at: usize) {
        let (lease, session) = (LeaseId::new(self.id()), self.routers[at].journal.session);
        let wanted = Amount(self.rng.random_range(20..400));
        let ask = LeaseAsk { lease, session, path: PATH, least: Amount(5), wanted, call: None };
        let answer = self.commit(Operation::Lease(ask));
        let Ok(Answer::Leased(grant)) = answer else { panic!("{answer:?}") };
        if grant.amount > Amount::ZERO {
            let (day, pocket) = (grant.day, Pocket::new(grant.amount));
            self.routers[at].leases.push(Leased { id: lease, day, pocket, used: 0, sequence: 0 });
        }
    }

    fn post(&mut self, journal: &Journal) {
        let answer = self.commit(Operation::Post(journal.post(0, journal.entries.len())));
        assert_eq!(answer, Ok(Answer::Posted(Vec::new())), "seed {}", self.seed);
    }

    fn post_some(&mut self, at: usize) {
        let journal = &self.routers[at].journal;
        let to = self.rng.random_range(journal.posted..=journal.entries.len());
        let some = journal.clone_range(journal.posted, to);
        self.post(&some);
        // an answer that is lost is posted again
        if self.rng.random_ratio(9, 10) {
            self.routers[at].journal.posted = to;
        }
    }

    fn post_again(&mut self, at: usize) {
        let journal = &self.routers[at].journal;
        let from = self.rng.random_range(0..=journal.posted);
        let to = self.rng.random_range(from..=journal.posted);
        let again = journal.clone_range(from, to);
        self.post(&again);
        self.tally.repeats += 1;
    }

    fn post_all(&mut self) {
        for at in 0..self.routers.len() {
            let rest = self.routers[at].journal.clone_from_posted();
            self.post(&rest);
            self.routers[at].journal.posted = self.routers[at].journal.entries.len();
        }
    }

    /// What it had under way stays used: nobody knows what became of it.
    fn kill(&mut self, at: usize) {
        let router = self.routers.swap_remove(at);
        let lost = self.commit(Operation::Session(router.journal.session, Fate::Lost));
        assert_eq!(lost, Ok(Answer::Done));
        self.dead.push(router.journal);
        self.start_router();
        self.tally.kills += 1;
    }

    fn replay(&mut self) {
        let Some(journal) = self.dead.pop() else { return };
        let found = self.commit(Operation::Session(journal.session, Fate::Found));
        assert_eq!(found, Ok(Answer::Done));
        let from = self.rng.random_range(0..=journal.posted);
        self.post(&journal.clone_range(from, journal.entries.len()));
        let closed = self.commit(Operation::Session(journal.session, Fate::Closed));
        assert_eq!(closed, Ok(Answer::Done));
        self.told.push(journal);
    }

    fn wait(&mut self) {
        let before = self.today();
        self.now = later(self.now, Duration::from_secs(self.rng.random_range(60..3 * 3_600)));
        let today = self.today();
        if today != before {
            self.tally.midnights += 1;
            self.routers.iter_mut().for_each(|router| router.close(|lease| lease.day != today));
        }
    }

    fn add(&mut self, day: Date, amount: i64) {
        for period in Period::BOTH {
            *self.truth.entry((period, period.start(day))).or_default() += amount;
        }
    }

    fn truth_of(&self, key: &BalanceKey) -> i64 {
        self.truth.get(&(key.period, key.start)).copied().unwrap_or_default()
    }

    /// The books count all that is used or may be.
    fn check_covered(&self) {
        for key in BalanceKey::all(&PATH, self.today()) {
            let used = self.held.balances.get(&key).copied().unwrap_or_default().used();
            assert!(used.0 >= self.truth_of(&key), "seed {}: {key:?} counts {used:?}", self.seed);
        }
    }

    /// With all routers heard, nobody is refused for whom there is room.
    fn check_refusal(&self, amount: i64) {
        let full = BalanceKey::all(&PATH, self.today()).any(|key| {
            let limit = self.limits[&PATH].of_account(key.scope, key.period).unwrap();
            self.truth_of(&key) + amount > limit.0
        });
        assert!(full || !self.dead.is_empty(), "seed {}: {amount} is refused", self.seed);
    }

    /// Everything is told, and told again.
    fn end(mut self, all: &mut Tally) {
        while !self.dead.is_empty() {
            self.replay();
        }
        for at in 0..self.routers.len() {
            while !self.routers[at].open.is_empty() {
                self.end_one(at);
            }
            self.routers[at].close(|_| true);
        }
        self.post_all();
        for at in 0..self.routers.len() {
            let session = self.routers[at].journal.session;
            assert_eq!(self.commit(Operation::Session(session, Fate::Closed)), Ok(Answer::Done));
        }
        let before = self.held.balances.clone();
        for journal in std::mem::take(&mut self.told) {
            self.post(&journal);
        }
        assert_eq!(self.held.balances, before, "seed {}: what was told twice counts twice", self.seed);
        for (key, balance) in &self.held.balances {
            let figures = [balance.spent, balance.reserved, balance.leased, balance.presumed];
            let expected = [Amount(self.truth_of(key)), Amount::ZERO, Amount::ZERO, Amount::ZERO];
            assert_eq!(figures, expected, "seed {}: {key:?}", self.seed);
        }
        let Tally { leased, alone, refused, called_back, kills, repeats, midnights } = self.tally;
        all.leased += leased;
        all.alone += alone;
        all.refused += refused;
        all.called_back += called_back;
        all.kills += kills;
        all.repeats += repeats;
        all.midnights += midnights;
    }
}
