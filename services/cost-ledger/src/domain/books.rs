//! One tenant's books during a transaction that holds their locks: decides what becomes of every operation, and says what to write.
//!
//! It works on values alone. What comes in is decided first, then what ends, then what is given back: so whoever is let in was let in
//! on what was free before, and an attempt may begin and end in one transaction, in whatever order that is told.

mod ends;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use embermesh_errors::{Code, Error};
use embermesh_escrow::{Account, Amount, Path};
use embermesh_types::{AttemptId, NanoUsd};

use super::{
    accounts::{Accounts, LimitsOf, touches},
    attempt::{Attempt, State},
    balance::{Balance, BalanceKey, Delta},
    hit::Hit,
    ids::{LeaseId, SessionId},
    lease::Lease,
    lease_ask::{Grant, LeaseAsk},
    part::{Refused, reserved},
    post::{Entry, Post, Rejected, Returned, Used},
    reserve::Reserve,
    settlement::{Charge, Settlement},
    work::{Answer, Fate, Operation, Outcome},
};

/// How long a router whose lease would keep others waiting is not to ask again, in milliseconds.
const WANTED_BY_OTHERS_MS: u32 = 2_000;
/// How long a router is not to ask again while budgets are closed, in milliseconds.
const CLOSED_MS: u32 = 2_000;

/// What the books hold of everything that the operations name.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) attempts: Vec<Attempt>,
    /// Of attempts that have ended and are settled again, sorted.
    pub(crate) charges: HashMap<AttemptId, Vec<Charge>>,
    pub(crate) leases: Vec<Lease>,
    /// Of every account that may be reserved in or leased from.
    pub(crate) balances: HashMap<BalanceKey, Balance>,
    /// What sessions have come to, as far as it is still so.
    pub(crate) fates: Vec<(SessionId, Fate)>,
}

/// An attempt, and what happens to it here.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// As it is by now.
    pub(crate) attempt: Attempt,
    /// It begins here.
    pub(crate) begins: Option<&'a Reserve>,
    /// It ends here.
    pub(crate) ends: Option<Cow<'a, Settlement>>,
}

/// A lease, and how it was before.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) before: Option<Lease>,
    pub(crate) now: Lease,
}

/// What to write.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    /// Those that begin here, end here, or both.
    pub(crate) attempts: Vec<Known<'a>>,
    pub(crate) hits: Vec<&'a Hit>,
    /// Those that are new or have changed.
    pub(crate) leases: Vec<Kept>,
    pub(crate) balances: BTreeMap<BalanceKey, Delta>,
    /// A charge may be to an account that nothing was set aside in.
    pub(crate) uncertain: bool,
}

/// The books at work.
pub(crate) struct Books<'a> {
    now: SystemTime,
    accounts: Accounts<'a>,
    positions: HashMap<AttemptId, usize>,
    attempts: Vec<Known<'a>>,
    charges: HashMap<AttemptId, Vec<Charge>>,
    leases: BTreeMap<LeaseId, Kept>,
    fates: Vec<(SessionId, Fate)>,
    hits: Vec<&'a Hit>,
    uncertain: bool,
    /// The books were brought back to an earlier time, and routers have not told everything again: nothing is let in, and what they tell
    /// of leases that are not known is booked.
    recovering: bool,
}

impl<'a> Books<'a> {
    pub(crate) fn new(loaded: Loaded, limits: &'a LimitsOf<'a>, now: SystemTime) -> Self {
        let Loaded { attempts, charges, leases, balances, fates } = loaded;
        let positions = attempts.iter().enumerate().map(|(at, attempt)| (attempt.id, at)).collect();
        let attempts = attempts.into_iter().map(|attempt| Known { attempt, begins: None, ends: None });
        let leases = leases.into_iter().map(|now| (now.id, Kept { before: Some(now.clone()), now }));
        Self {
            now,
            accounts: Accounts::new(balances, limits, now),
            positions,
            attempts: attempts.collect(),
            charges,
            leases: leases.collect(),
            fates,
            hits: Vec::new(),
            uncertain: false,
            recovering: false,
        }
    }

    /// The same while they are being reconciled.
    pub(crate) fn recovering(self, recovering: bool) -> Self {
        Self { recovering, ..self }
    }

    /// Decides all of them, and answers in their order. Nothing is leased from the accounts that others wait for.
    pub(crate) fn decide(
        &mut self,
        operations: &[&'a Operation],
        wait: impl Fn() -> Vec<Account>,
    ) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = vec![Ok(Answer::Done); operations.len()];
        let mut rejected: Vec<Vec<Rejected>> = vec![Vec::new(); operations.len()];
        let reject = |list: &mut Vec<Rejected>, entry: usize, why: Error| {
            tracing::error!(entry, error = %why, "a posted entry cannot be booked");
            list.push(Rejected { entry, why });
        };
        for (at, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Reserve(reserve) => outcomes[at] = self.reserve(reserve),
                Operation::Lease(ask) => outcomes[at] = self.lease(ask, &wait),
                Operation::Post(post) => {
                    for (entry, reserve) in reservations(post) {
                        if let Err(why) = self.begin_leased(reserve) {
                            reject(&mut rejected[at], entry, why);
                        }
                    }
                }
                _ => {}
            }
        }
        for (at, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Settle(settlement) => {
                    outcomes[at] = self.settle(settlement).map(|()| Answer::Done);
                }
                Operation::Presume(attempted) => self.presume(*attempted),
                Operation::Post(post) => {
                    for (entry, value) in &post.entries {
                        let done = match value {
                            Entry::Settled(settlement) => self.settle(settlement),
                            Entry::Presumed(attempted) => {
                                self.presume(*attempted);
                                Ok(())
                            }
                            Entry::Used(used) => self.use_up(*used),
                            _ => Ok(()),
                        };
                        if let Err(why) = done {
                            reject(&mut rejected[at], *entry, why);
                        }
                    }
                }
                _ => {}
            }
        }
        for (at, operation) in operations.iter().enumerate() {
            let Operation::Post(post) = operation else { continue };
            for (entry, value) in &post.entries {
                match value {
                    Entry::Returned(returned) => {
                        if let Err(why) = self.give_back(*returned) {
                            reject(&mut rejected[at], *entry, why);
                        }
                    }
                    Entry::Hit(hit) => self.hits.push(hit),
                    _ => {}
                }
            }
            let mut all = std::mem::take(&mut rejected[at]);
            all.extend(post.rejected.iter().cloned());
            all.sort_by_key(|rejected| rejected.entry);
            outcomes[at] = Ok(Answer::Posted(all));
        }
        self.report_overdrawn();
        for (session, fate) in &self.fates {
            for kept in self.leases.values_mut().filter(|kept| kept.now.session == *session) {
                match fate {
                    Fate::Lost => kept.now.lose(),
                    Fate::Found => kept.now.find(),
                    Fate::Closed => kept.now.close(),
                }
            }
        }
        outcomes
    }

    /// Only after all of a batch: an attempt may have come out of what another one left, whose end is booked after all beginnings.
    fn report_overdrawn(&self) {
        // what an adopted lease had is not known
        if self.recovering {
            return;
        }
        for Kept { before, now } in self.leases.values() {
            let (before, overdrawn) = (before.as_ref().map_or(0, Lease::overdrawn), now.overdrawn());
            if overdrawn > before {
                tracing::error!(lease = %now.id, overdrawn, "the attempts of a lease cost more than it had");
            }
        }
    }

    /// Everything to write.
    pub(crate) fn into_writes(mut self) -> Writes<'a> {
        let changed = |kept: &Kept| kept.before.as_ref() != Some(&kept.now);
        let leases: Vec<Kept> = self.leases.into_values().filter(changed).collect();
        for Kept { before, now } in &leases {
            let (leased, presumed) =
                before.as_ref().map_or((0, 0), |before| (before.leased(), before.presumed()));
            let (leased, presumed) = (now.leased() - leased, now.presumed() - presumed);
            self.accounts.lease_moves(&now.path, now.day, leased, presumed);
        }
        self.attempts.retain(|known| known.begins.is_some() || known.ends.is_some());
        let (hits, uncertain) = (self.hits, self.uncertain);
        Writes { attempts: self.attempts, hits, leases, balances: self.accounts.into_deltas(), uncertain }
    }

    fn reserve(&mut self, reserve: &'a Reserve) -> Outcome {
        if let Some(at) = self.positions.get(&reserve.attempt) {
            let attempt = &self.attempts[*at].attempt;
            // the money is free again, so "ok" would let a call pass that no budget pays for
            if attempt.state == State::Voided {
                let message = "the attempt was voided, reserve under a new id";
                return Err(Error::new(Code::Conflict, message).with_param("attempt_id"));
            }
            same_reservation(attempt, reserve)?;
            return Ok(Answer::Reserved(attempt.refused.clone()));
        }
        if self.recovering && reserve.parts.iter().any(|part| part.amount > NanoUsd::ZERO) {
            return Err(closed());
        }
        let (mut refused, mut in_leases) = (Vec::new(), Vec::new());
        for (at, part) in reserve.parts.iter().enumerate() {
            if let Err(shortage) = self.accounts.set_aside(&reserve.path(part), part.amount.into()) {
                in_leases.extend(shortage.in_leases);
                refused.push(Refused { part: at, why: shortage.why });
            }
        }
        if reserve.may_wait && !in_leases.is_empty() {
            for part in reserved(&reserve.parts, &refused) {
                self.accounts.take_back(&reserve.path(part), part.amount.into());
            }
            in_leases.sort();
            in_leases.dedup();
            return Ok(Answer::Waits(in_leases));
        }
        if refused.len() == reserve.parts.len() {
            // the refusal of a lone part is the call's
            return match <[Refused; 1]>::try_from(refused) {
                Ok([refused]) => Err(refused.why),
                Err(refused) => Ok(Answer::Reserved(refused)),
            };
        }
        self.begin(reserve, refused.clone());
        Ok(Answer::Reserved(refused))
    }

    fn lease(&mut self, ask: &LeaseAsk, wait: &impl Fn() -> Vec<Account>) -> Outcome {
        if let Some(kept) = self.leases.get(&ask.lease) {
            let Lease { session, path, day, granted, closing, .. } = &kept.now;
            if *session == ask.session && *path == ask.path && *closing == ask.call.is_some() {
                return Ok(Answer::Leased(Grant { amount: Amount(*granted), day: *day, ask_again_ms: 0 }));
            }
            let message = "the lease is closed, or another's, ask for one with a new id";
            return Err(Error::new(Code::Conflict, message).with_param("lease_id"));
        }
        if self.recovering {
            let day = embermesh_escrow::day_of(self.now);
            let none = Grant { amount: Amount::ZERO, day, ask_again_ms: CLOSED_MS };
            return if ask.call.is_some() { Err(closed()) } else { Ok(Answer::Leased(none)) };
        }
        if let Some(call) = ask.call {
            return self.lease_to_call(ask, call.may_wait);
        }
        let waited_for = wait();
        if !waited_for.is_empty() && touches(&ask.path, waited_for.iter()) {
            let day = embermesh_escrow::day_of(self.now);
            let none = Grant { amount: Amount::ZERO, day, ask_again_ms: WANTED_BY_OTHERS_MS };
            return Ok(Answer::Leased(none));
        }
        let grant = self.accounts.lease(ask);
        if grant.amount > Amount::ZERO {
            let lease = Lease::new(ask.lease, ask.session, ask.path.clone(), grant.day, grant.amount);
            self.leases.insert(ask.lease, Kept { before: None, now: lease });
        }
        Ok(Answer::Leased(grant))
    }

    /// What one call takes is used from the start, so that nobody needs to end it.
    fn lease_to_call(&mut self, ask: &LeaseAsk, may_wait: bool) -> Outcome {
        match self.accounts.spend_now(&ask.path, ask.least) {
            Ok(()) => {}
            Err(shortage) if may_wait && !shortage.in_leases.is_empty() => {
                return Ok(Answer::Waits(shortage.in_leases));
            }
            Err(shortage) => return Err(shortage.why),
        }
        let (day, amount) = (embermesh_escrow::day_of(self.now), ask.least);
        let lease = Lease::of_a_call(ask.lease, ask.session, ask.path.clone(), day, amount);
        self.leases.insert(ask.lease, Kept { before: None, now: lease });
        Ok(Answer::Leased(Grant { amount, day, ask_again_ms: 0 }))
    }

    /// An attempt whose bytes have left already, out of leases.
    fn begin_leased(&mut self, reserve: &'a Reserve) -> Result<(), Error> {
        if let Some(at) = self.positions.get(&reserve.attempt) {
            return same_reservation(&self.attempts[*at].attempt, reserve);
        }
        if self.recovering {
            self.adopt(reserve);
        }
        for (at, part) in reserve.parts.iter().enumerate() {
            let Some(id) = part.lease else { continue };
            let field = format!("parts[{at}].lease_id");
            let lease = self.leases.get(&id).ok_or_else(|| no_lease().with_param(&*field))?;
            if lease.now.path != reserve.path(part) {
                return Err(Error::invalid(field, "the lease is of another agent, key or provider"));
            }
            if lease.now.day != reserve.day(self.now) {
                return Err(Error::invalid(field, "the lease is of another day"));
            }
        }
        for part in &reserve.parts {
            let Some(kept) = part.lease.and_then(|id| self.leases.get_mut(&id)) else { continue };
            kept.now.begin(part.amount);
        }
        self.begin(reserve, Vec::new());
        Ok(())
    }

    /// Leases that were granted in what was lost.
    fn adopt(&mut self, reserve: &Reserve) {
        let Some(session) = reserve.session else { return };
        for part in &reserve.parts {
            let Some(id) = part.lease.filter(|id| !self.leases.contains_key(id)) else { continue };
            let (path, day) = (reserve.path(part), reserve.day(self.now));
            tracing::info!(lease = %id, "a router tells of a lease that was lost with the books");
            let lease = Lease::adopted(id, session, path, day, part.amount.into());
            self.leases.insert(id, Kept { before: None, now: lease });
        }
    }

    fn begin(&mut self, reserve: &'a Reserve, refused: Vec<Refused>) {
        self.positions.insert(reserve.attempt, self.attempts.len());
        let attempt = Attempt {
            id: reserve.attempt,
            created_at: reserve.created_at,
            state: State::Reserved,
            parts: reserve.parts.clone(),
            reserved: reserved(&reserve.parts, &refused).map(|part| part.amount).sum(),
            refused,
            provider: reserve.provider.clone(),
            model: reserve.model.clone(),
            amount: None,
            tokens: None,
            billed_units: None,
            day: reserve.day(self.now),
            reserved_at: reserve.reserved_at(self.now),
        };
        self.attempts.push(Known { attempt, begins: Some(reserve), ends: None });
    }

    fn use_up(&mut self, used: Used) -> Result<(), Error> {
        let Kept { now, .. } = self.leases.get_mut(&used.lease).ok_or_else(no_lease)?;
        if !matches!(now.path, Path::Quota(_)) {
            let message = "the lease is of money, whose use is told by attempts";
            return Err(Error::invalid("lease_id", message));
        }
        let more = now.use_up(used.amount, used.sequence);
        if more != 0 {
            self.accounts.spend(&now.path, now.day, Amount(more));
        }
        Ok(())
    }

    fn give_back(&mut self, returned: Returned) -> Result<(), Error> {
        let Some(kept) = self.leases.get_mut(&returned.lease) else {
            // of a lease that was lost with the books nothing is set aside
            return if self.recovering { Ok(()) } else { Err(no_lease()) };
        };
        kept.now.give_back(returned.amount);
        if returned.closes {
            kept.now.close();
        }
        Ok(())
    }
}

/// What a router reserved by itself, with its position in the message.
fn reservations(post: &Post) -> impl Iterator<Item = (usize, &Reserve)> {
    post.entries.iter().filter_map(|(at, entry)| match entry {
        Entry::Reserved(reserve) => Some((*at, reserve)),
        _ => None,
    })
}

/// It may be asked again: a person is at it. The detail tells it from a ledger that is away.
fn closed() -> Error {
    let message = "the books were restored and are not reconciled yet, so budgets are closed; `embermesh restore reconcile` opens them";
    Error::unavailable(message).with_detail("budgets", "closed")
}

fn no_lease() -> Error {
    Error::not_found("no such lease was granted").with_param("lease_id")
}

fn same_reservation(attempt: &Attempt, reserve: &Reserve) -> Result<(), Error> {
    let same = attempt.parts == reserve.parts
        && attempt.provider == reserve.provider
        && attempt.model == reserve.model;
    if same {
        return Ok(());
    }
    tracing::error!(attempt = %attempt.id, "an attempt was reserved again with other values");
    Err(Error::new(Code::Conflict, "the attempt was reserved with other values").with_param("attempt_id"))
}
