//! The one task that writes. While a transaction commits, the next one's operations gather: the more callers, the more of them
//! share a commit, and nobody ever waits for company.

use std::{collections::HashSet, time::Duration};

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_subscription::Subscription;
use embermesh_types::{AttemptId, Clock};
use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::{
        limits::Limits,
        work::{Operation, Work},
    },
    metrics::LedgerMetrics,
    store::{Outcome, Store, failed},
};

/// Conflicts with other replicas are repeated so often.
const ATTEMPTS: u32 = 5;

/// Where operations are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Queued>,
}

#[derive(Debug)]
struct Queued {
    work: Work,
    answer: oneshot::Sender<Outcome>,
}

/// What the task needs.
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) subscription: Subscription,
    pub(crate) clock: Clock,
    pub(crate) metrics: LedgerMetrics,
}

impl Writer {
    /// Starts the task, which ends when every handle is gone or the process stops and the queue is empty.
    pub(crate) fn start(desk: Desk, queue: usize, batch: usize, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        tasks.spawn("ledger writer", run(desk, receiver, batch.max(1), tasks.clone()));
        Self { queue: sender }
    }

    /// Answers once the operation is committed, or refused.
    pub(crate) async fn submit(&self, work: Work) -> Outcome {
        let stopped = || Error::unavailable("the ledger is stopping, try again");
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Queued { work, answer }).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

async fn run(desk: Desk, mut queue: mpsc::Receiver<Queued>, size: usize, tasks: Tasks) {
    let mut arrived = Vec::with_capacity(size);
    let mut waiting: Vec<Queued> = Vec::new();
    loop {
        if waiting.is_empty() {
            let room = size;
            tokio::select! {
                received = queue.recv_many(&mut arrived, room) => if received == 0 { return },
                () = tasks.stopping(), if !queue.is_closed() => {
                    // what is queued is still answered
                    queue.close();
                    continue;
                }
            }
        } else {
            while waiting.len() + arrived.len() < size
                && let Ok(queued) = queue.try_recv()
            {
                arrived.push(queued);
            }
        }
        waiting.append(&mut arrived);
        let batch = next_batch(&mut waiting);
        desk.metrics.batch.observe(u32::try_from(batch.len()).unwrap_or(u32::MAX).into());
        desk.write(batch).await;
    }
}

/// Takes from the front what can be decided together: an attempt is reserved or settled once in a transaction, what comes again
/// waits for the next. Nobody waits for the answer of a reservation whose caller has gone, so it is dropped.
fn next_batch(waiting: &mut Vec<Queued>) -> Vec<Queued> {
    let mut named: HashSet<(bool, AttemptId)> = HashSet::new();
    let (mut batch, mut later) = (Vec::with_capacity(waiting.len()), Vec::new());
    for queued in waiting.drain(..) {
        let again = match &queued.work.operation {
            Operation::Reserve(_) if queued.answer.is_closed() => continue,
            Operation::Reserve(reserve) => !named.insert((true, reserve.attempt)),
            Operation::Settle(settlement) => !named.insert((false, settlement.attempt)),
            Operation::Hits(_) => false,
        };
        if again { later.push(queued) } else { batch.push(queued) }
    }
    *waiting = later;
    batch
}

impl Desk {
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
                    outcomes.push(
                        alone.map_or_else(|error| Err(failed(&error)), |mut one| one.pop().unwrap_or(Ok(()))),
                    );
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
        let snapshot = self.subscription.current();
        let limits = |tenant, agent: &_| Limits::of(snapshot.agent(tenant, agent).map(AsRef::as_ref));
        let mut attempt = 1;
        loop {
            match self.store.commit(works, limits, self.clock.now()).await {
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
            Operation::Settle(settlement) => settlement.outcome.as_str(),
            Operation::Hits(_) => "hits",
        };
        let outcome = outcome.as_ref().map_or_else(|error| error.code.as_str(), |()| "ok");
        self.metrics.operations.with_label_values(&[operation, outcome]).inc();
    }
}
