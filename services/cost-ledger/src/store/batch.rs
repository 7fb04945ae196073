//! Many operations in one transaction: read and lock, decide, write, commit. Nothing is answered before the commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use embermesh_escrow::{Account, Limits, Path, day_of};
use embermesh_postgres::{DbError, Transaction, together};
use embermesh_types::{AttemptId, NanoUsd, TenantId};
use futures::{FutureExt as _, future::BoxFuture};
use uuid::Uuid;

use super::{
    Store, attempts, balances,
    charges::{self, NewCharges},
    leases, sessions,
};
use crate::domain::{
    attempt::{Attempt, State},
    balance::BalanceKey,
    books::{Books, Loaded, Writes},
    ids::{LeaseId, SessionId},
    lease::Lease,
    post::{Entry, Post},
    reserve::Reserve,
    work::{Fate, Operation, Outcome, Work},
};

/// Whether a statement wrote what it should have.
pub(crate) fn all(written: u64, expected: usize) -> Result<(), DbError> {
    let written = usize::try_from(written).unwrap_or(usize::MAX);
    if written == expected { Ok(()) } else { Err(DbError::RowCount(written)) }
}

/// What decisions depend on, beside the books.
pub(crate) trait Circumstances: Send + Sync {
    /// The limits of a tenant's path; `None` while they are not known.
    fn limits(&self, tenant: TenantId, path: &Path) -> Option<Limits>;
    /// The accounts that reservations wait for.
    fn waited_for(&self, tenant: TenantId) -> Vec<Account>;
    /// Whether the books were restored and are not reconciled yet.
    fn recovering(&self) -> bool;
}

/// How a transaction takes attempts that are posted as begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As new, which they nearly always are: that saves a look. One that is not violates the table's key.
    New,
    /// As what may be there already.
    Look,
}

impl Store {
    /// Commits all of `batch`. Answers are in the order of the batch; an error of the database means that nothing was done, except
    /// [`DbError::Unavailable`], after which that is unknown.
    pub(crate) async fn commit(
        &self,
        batch: &[Work],
        circumstances: &impl Circumstances,
        trust: Trust,
        now: SystemTime,
    ) -> Result<Vec<Outcome>, DbError> {
        let mut tenants: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (at, work) in batch.iter().enumerate() {
            tenants.entry(work.tenant).or_default().push(at);
        }
        let Some(first) = tenants.keys().next() else { return Ok(Vec::new()) };
        // Plans are cached, and those made for an empty table, as a new month's partition is, would go on to read all of a tenant's
        // rows: so each row is looked for by its whole primary key in a nested loop, and never by a scan.
        let session = self.database.tenant(first.uuid()).with("enable_seqscan", "off").with("jit", "off");
        let session = session.with("enable_hashjoin", "off").with("enable_mergejoin", "off");
        let transaction = session.begin().await?;
        let mut current = *first;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        for (tenant, at) in tenants {
            if tenant != current {
                let switch = "SELECT set_config('app.tenant', $1, true)";
                transaction.query(switch, &[&tenant.to_string()]).await?;
                current = tenant;
            }
            let operations: Vec<&Operation> = at.iter().map(|at| &batch[*at].operation).collect();
            let part = TenantPart { transaction: &transaction, tenant, now, trust, operations };
            for (at, outcome) in at.into_iter().zip(Box::pin(part.commit(circumstances)).await?) {
                outcomes[at] = Some(outcome);
            }
        }
        transaction.commit().await?;
        // each belongs to one tenant, and a tenant's part answers all of its own
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// The operations of one tenant.
struct TenantPart<'a> {
    transaction: &'a Transaction,
    tenant: TenantId,
    now: SystemTime,
    trust: Trust,
    operations: Vec<&'a Operation>,
}

impl TenantPart<'_> {
    async fn commit(&self, circumstances: &impl Circumstances) -> Result<Vec<Outcome>, DbError> {
        let loaded = self.load().await?;
        let locked = !loaded.balances.is_empty();
        let limits = |path: &Path| circumstances.limits(self.tenant, path);
        let (outcomes, writes) = {
            let mut books = Books::new(loaded, &limits, self.now).recovering(circumstances.recovering());
            let outcomes = books.decide(&self.operations, || circumstances.waited_for(self.tenant));
            (outcomes, books.into_writes())
        };
        if writes.uncertain && !locked {
            let keys = writes.balances.keys().cloned().collect();
            balances::lock(self.transaction, self.tenant, &keys).await?;
        }
        self.write(&writes).await?;
        Ok(outcomes)
    }

    /// They leave together, and a failure of any undoes all. The balances are last, because others wait for them.
    async fn write(&self, writes: &Writes<'_>) -> Result<(), DbError> {
        let (transaction, tenant, now) = (self.transaction, self.tenant, self.now);
        let (charges, hits) = (NewCharges::of(&writes.attempts), NewCharges::hits(&writes.hits));
        // boxed, as they are of different types, and what keeps all these statements is large
        let statements: [BoxFuture<'_, Result<(), DbError>>; 5] = [
            attempts::write(transaction, tenant, &writes.attempts, now).boxed(),
            charges.insert(transaction, tenant).boxed(),
            hits.insert_new(transaction, tenant).boxed(),
            leases::write(transaction, tenant, &writes.leases, now).boxed(),
            balances::add(transaction, tenant, &writes.balances).boxed(),
        ];
        together(statements).await.map(drop)
    }

    /// Reads and locks what the operations name: attempts, then leases, then balances, each in one order.
    async fn load(&self) -> Result<Loaded, DbError> {
        let fates = self.fates().await?;
        let sessions: Vec<SessionId> = fates.iter().map(|(session, _)| *session).collect();
        let held = attempts::lock(self.transaction, self.tenant, self.attempt_names()).await?;
        let mut lease_ids = self.lease_ids();
        lease_ids.extend(held.iter().flat_map(|attempt| &attempt.parts).filter_map(|part| part.lease));
        let leases = leases::lock(self.transaction, self.tenant, &lease_ids, &sessions).await?;
        let balances = match self.admissions() {
            // what only ends needs no look at the balances
            paths if paths.is_empty() => Default::default(),
            paths => {
                let keys = self.balance_keys(paths, &held, &leases);
                balances::lock(self.transaction, self.tenant, &keys).await?
            }
        };
        let ended = attempts::ended(&held);
        let again: BTreeSet<AttemptId> = self.settled().filter(|id| ended.contains_key(id)).collect();
        let again: Vec<&Attempt> = again.iter().filter_map(|id| ended.get(id).copied()).collect();
        let charges = charges::of(self.transaction, self.tenant, &again).await?;
        Ok(Loaded { attempts: held, charges, leases, balances, fates })
    }

    /// Every attempt that may be in the books.
    fn attempt_names(&self) -> BTreeMap<Uuid, SystemTime> {
        let mut new: BTreeSet<AttemptId> = BTreeSet::new();
        let mut names = BTreeMap::new();
        // a reservation may be refused, and only a look tells whether it was let in before
        for reserve in self.direct() {
            names.insert(reserve.attempt.uuid(), reserve.created_at);
        }
        for reserve in self.posts().flat_map(reserved) {
            match self.trust {
                Trust::New => {
                    new.insert(reserve.attempt);
                }
                Trust::Look => {
                    names.insert(reserve.attempt.uuid(), reserve.created_at);
                }
            }
        }
        let mut name = |attempt: AttemptId, created_at: SystemTime| {
            if !new.contains(&attempt) {
                names.insert(attempt.uuid(), created_at);
            }
        };
        for operation in &self.operations {
            match operation {
                Operation::Settle(settlement) => name(settlement.attempt, settlement.created_at),
                Operation::Presume(attempted) => name(attempted.attempt, attempted.created_at),
                _ => {}
            }
        }
        for (_, entry) in self.posts().flat_map(|post| &post.entries) {
            match entry {
                Entry::Settled(settlement) => name(settlement.attempt, settlement.created_at),
                Entry::Presumed(attempted) => name(attempted.attempt, attempted.created_at),
                _ => {}
            }
        }
        names
    }

    fn lease_ids(&self) -> BTreeSet<LeaseId> {
        let mut ids = BTreeSet::new();
        for operation in &self.operations {
            if let Operation::Lease(ask) = operation {
                ids.insert(ask.lease);
            }
        }
        for (_, entry) in self.posts().flat_map(|post| &post.entries) {
            match entry {
                Entry::Reserved(reserve) => ids.extend(reserve.parts.iter().filter_map(|part| part.lease)),
                Entry::Returned(returned) => {
                    ids.insert(returned.lease);
                }
                Entry::Used(used) => {
                    ids.insert(used.lease);
                }
                _ => {}
            }
        }
        ids
    }

    /// What sessions have come to, as far as it is still so.
    async fn fates(&self) -> Result<Vec<(SessionId, Fate)>, DbError> {
        let mut hold = Vec::new();
        for operation in &self.operations {
            if let Operation::Session(session, fate) = operation
                && sessions::holds(self.transaction, *session, *fate).await?
            {
                hold.push((*session, *fate));
            }
        }
        Ok(hold)
    }

    /// Where something may be set aside.
    fn admissions(&self) -> BTreeSet<Path> {
        let mut paths = BTreeSet::new();
        for operation in &self.operations {
            match operation {
                Operation::Reserve(reserve) => {
                    let costly = reserve.parts.iter().filter(|part| part.amount > NanoUsd::ZERO);
                    paths.extend(costly.map(|part| reserve.path(part)));
                }
                Operation::Lease(ask) => {
                    paths.insert(ask.path.clone());
                }
                _ => {}
            }
        }
        paths
    }

    /// Every balance that may change, whatever is decided.
    fn balance_keys(
        &self,
        admissions: BTreeSet<Path>,
        held: &[Attempt],
        leases: &[Lease],
    ) -> BTreeSet<BalanceKey> {
        let today = day_of(self.now);
        let mut paths: BTreeSet<_> = admissions.into_iter().map(|path| (path, today)).collect();
        for attempt in held.iter().filter(|attempt| attempt.state == State::Reserved) {
            paths.extend(attempt.reserved_parts().map(|part| (part.path(&attempt.provider), attempt.day)));
        }
        paths.extend(leases.iter().map(|lease| (lease.path.clone(), lease.day)));
        // what is posted may be charged more than nothing against its bound
        for reserve in self.posts().flat_map(reserved) {
            paths.extend(reserve.parts.iter().map(|part| (reserve.path(part), reserve.day(self.now))));
        }
        paths.iter().flat_map(|(path, day)| BalanceKey::all(path, *day)).collect()
    }

    fn posts(&self) -> impl Iterator<Item = &Post> {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Post(post) => Some(post),
            _ => None,
        })
    }

    fn direct(&self) -> impl Iterator<Item = &Reserve> {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Reserve(reserve) => Some(reserve),
            _ => None,
        })
    }

    /// Attempts that are settled, maybe again.
    fn settled(&self) -> impl Iterator<Item = AttemptId> {
        let direct = self.operations.iter().filter_map(|operation| match operation {
            Operation::Settle(settlement) => Some(settlement.attempt),
            _ => None,
        });
        let posted = self.posts().flat_map(|post| &post.entries).filter_map(|(_, entry)| match entry {
            Entry::Settled(settlement) => Some(settlement.attempt),
            _ => None,
        });
        direct.chain(posted)
    }
}

fn reserved(post: &Post) -> impl Iterator<Item = &Reserve> {
    post.entries.iter().filter_map(|(_, entry)| match entry {
        Entry::Reserved(reserve) => Some(reserve),
        _ => None,
    })
}
