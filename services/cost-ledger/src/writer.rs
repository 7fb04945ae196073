//! The one writer of a process. While a transaction commits, the next one's operations gather: the more callers, the more of
//! them share a commit, and nobody ever waits for company.
//!
//! The writing task lives only while there is work. So it outlasts the callers that a stopping process still lets finish, and
//! never holds the process up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_errors::Error;
use embermesh_escrow::{Account, Amount, Limits, Path};
use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_types::{Clock, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    domain::work::{Answer, Fate, Operation, Outcome, Work},
    metrics::LedgerMetrics,
    recovery::Recovery,
    store::{Circumstances, Store, Trust, failed},
    waiting::Waiting,
};

/// Conflicts with other replicas are repeated so often.
const ATTEMPTS: u32 = 5;

/// Where operations are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    desk: Arc<Desk>,
    room: Arc<Semaphore>,
    tasks: Tasks,
}

/// What writes.
#[derive(Debug)]
pub(crate) struct Desk {
    store: Store,
    subscription: Subscription,
    clock: Clock,
    waiting: Waiting,
    recovery: Recovery,
    metrics: LedgerMetrics,
    batch: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    /// A task is at work and will look here again.
    attended: bool,
}

#[derive(Debug)]
struct Queued {
    work: Work,
    answer: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// A writer whose queue holds `room` operations, for a desk.
    pub(crate) fn new(desk: Desk, room: usize, tasks: Tasks) -> Self {
        Self { desk: Arc::new(desk), room: Arc::new(Semaphore::new(room.max(1))), tasks }
    }

    /// Answers once the operation is committed, or refused.
    pub(crate) async fn submit(&self, work: Work) -> Outcome {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| self.cut_off())?;
        let (answer, outcome) = oneshot::channel();
        if self.desk.enqueue(Queued { work, answer, _room: room }) {
            self.tasks.spawn("ledger writer", attend(Attending::new(Arc::clone(&self.desk))));
        }
        outcome.await.map_err(|_| self.cut_off())?
    }

    /// Why there is no answer.
    fn cut_off(&self) -> Error {
        if self.tasks.is_stopping() {
            return Error::unavailable("the ledger is stopping, try again");
        }
        Error::internal("the ledger failed while it wrote, see the log of the ledger")
    }
}

/// The duty to write what waits. It is given up by dropping it, when the task that had it is cut off, even before it began, or
/// panics: then nobody else would look at the queue, so whoever waits is let go and the next to come calls another task.
struct Attending {
    desk: Arc<Desk>,
    done: bool,
}

impl Attending {
    const fn new(desk: Arc<Desk>) -> Self {
        Self { desk, done: false }
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.desk.queue();
        queue.attended = false;
        let let_go = std::mem::take(&mut queue.waiting);
        drop(queue);
        if !let_go.is_empty() {
            tracing::error!(operations = let_go.len(), "the writer ended before its work");
        }
    }
}

/// Writes until nothing waits.
async fn attend(mut duty: Attending) {
    while let Some(batch) = duty.desk.take() {
        if !batch.is_empty() {
            duty.desk.metrics.batch.observe(u32::try_from(batch.len()).unwrap_or(u32::MAX).into());
            duty.desk.write(batch).await;
        }
    }
    // `take` has left the queue already, and another task may be at it by now
    duty.done = true;
}

impl Desk {
    pub(crate) fn new(
        store: Store,
        subscription: Subscription,
        clock: Clock,
        waiting: Waiting,
        recovery: Recovery,
        metrics: LedgerMetrics,
        batch: usize,
    ) -> Self {
        Self {
            store,
            subscription,
            clock,
            waiting,
            recovery,
            metrics,
            batch: batch.max(1),
            queue: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether somebody must be called to attend.
    fn enqueue(&self, queued: Queued) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(queued);
        !std::mem::replace(&mut queue.attended, true)
    }

    /// The next operations to write. With none left the queue is unattended, under the same lock as the look at it, so that
    /// whoever enqueues next calls the next task.
    fn take(&self) -> Option<Vec<Queued>> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            queue.attended = false;
            return None;
        }
        Some(next_batch(&mut queue.waiting, self.batch))
    }

    async fn write(&self, batch: Vec<Queued>) {
        let (works, answers): (Vec<Work>, Vec<_>) = batch.into_iter().map(|q| (q.work, q.answer)).unzip();
        let outcomes = match self.commit(&works).await {
            Ok(outcomes) => outcomes,
            Err(error) if error.is_retryable() || works.len() == 1 => vec![Err(failed(&error)); works.len()],
            Err(error) => {
                tracing::error!(%error, operations = works.len(), "a shared transaction failed, writing one by one");
                let mut outcomes = Vec::with_capacity(works.len());
                for work in &works {
                    let alone = self.commit(std::slice::from_ref(work)).await;
                    outcomes.push(alone.map_or_else(
                        |error| Err(failed(&error)),
                        |mut one| one.pop().unwrap_or(Ok(Answer::Done)),
                    ));
                }
                outcomes
            }
        };
        for ((work, answer), outcome) in works.iter().zip(answers).zip(outcomes) {
            self.count(work, &outcome);
            // a caller that has gone learns the outcome by repeating
            let _gone = answer.send(outcome);
        }
    }

    async fn commit(&self, works: &[Work]) -> Result<Vec<Outcome>, DbError> {
        // the same configuration for the whole transaction
        let (known, recovering) = (self.subscription.known(), self.recovery.is_open());
        let known = Configuration { known, waiting: &self.waiting, recovering };
        let (mut attempt, mut trust) = (1, Trust::New);
        loop {
            let timer = self.metrics.commits.start_timer();
            let outcome = self.store.commit(works, &known, trust, self.clock.now()).await;
            timer.observe_duration();
            match outcome {
                // some attempt is there already; nothing was written
                Err(DbError::UniqueViolation { .. }) if trust == Trust::New => trust = Trust::Look,
                // another replica was at the same rows or the same attempt; nothing was written
                Err(DbError::Conflict(_) | DbError::StalePlan | DbError::UniqueViolation { .. })
                    if attempt < ATTEMPTS =>
                {
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 5)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn count(&self, work: &Work, outcome: &Outcome) {
        let operation = match &work.operation {
            Operation::Reserve(_) => "reserve",
            Operation::Lease(_) => "lease",
            Operation::Settle(settlement) => settlement.outcome.as_str(),
            Operation::Presume(_) => "presumed",
            Operation::Post(_) => "post",
            Operation::Session(_, Fate::Lost) => "session_lost",
            Operation::Session(_, Fate::Found) => "session_found",
            Operation::Session(_, Fate::Closed) => "session_closed",
        };
        let outcome = match (outcome, &work.operation) {
            (Err(error), _) => error.code.as_str(),
            // a shared reservation of which nothing was let in
            (Ok(Answer::Reserved(refused)), Operation::Reserve(reserve))
                if refused.len() == reserve.parts.len() =>
            {
                refused.first().map_or("ok", |refused| refused.why.code.as_str())
            }
            (Ok(Answer::Waits(_)), _) => "waits",
            (Ok(Answer::Leased(grant)), _) if grant.amount == Amount::ZERO => "none",
            (Ok(Answer::Posted(rejected)), _) if !rejected.is_empty() => "rejected",
            _ => "ok",
        };
        self.metrics.operations.with_label_values(&[operation, outcome]).inc();
    }
}

/// The state of the configuration that a transaction goes by.
struct Configuration<'a> {
    known: Option<Arc<Snapshot>>,
    waiting: &'a Waiting,
    recovering: bool,
}

impl Circumstances for Configuration<'_> {
    fn limits(&self, tenant: TenantId, path: &Path) -> Option<Limits> {
        // no configuration limits Embermesh's own calls, so there is none to wait for
        if tenant == TenantId::SYSTEM {
            return Some(Limits::default());
        }
        let known = self.known.as_ref()?;
        Some(match path {
            Path::Money { agent, .. } => {
                let agent = known.agent(tenant, agent).map(AsRef::as_ref);
                Limits::of(path, agent, known.budgets(tenant).map(AsRef::as_ref))
            }
            Path::Quota(quota) => Limits::of_quota(*quota, known.quotas(tenant)),
        })
    }

    fn waited_for(&self, tenant: TenantId) -> Vec<Account> {
        self.waiting.accounts(tenant)
    }

    fn recovering(&self) -> bool {
        self.recovering
    }
}

/// Takes operations from the front. Nobody waits for the answer of a reservation whose caller has gone, so it is dropped.
fn next_batch(waiting: &mut VecDeque<Queued>, size: usize) -> Vec<Queued> {
    let (mut batch, mut weight) = (Vec::new(), 0);
    while weight < size
        && let Some(queued) = waiting.pop_front()
    {
        if matches!(queued.work.operation, Operation::Reserve(_) | Operation::Lease(_))
            && queued.answer.is_closed()
        {
            continue;
        }
        weight += match &queued.work.operation {
            Operation::Post(post) => post.entries.len().max(1),
            _ => 1,
        };
        batch.push(queued);
    }
    batch
}

#[cfg(test)]
mod tests;
