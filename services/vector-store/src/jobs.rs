//! Works on jobs, one at a time in each process. A job is held by a lease that is renewed all the time: when its worker is gone another one
//! begins it anew, which no job minds.

mod clear;
mod warm;

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_types::Clock;
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use crate::{
    domain::job::{Claimed, Progress, Task},
    redis::Redis,
    store::Store,
};

/// How often a worker looks for jobs that another replica was asked for, or has left behind.
const LOOK: Duration = Duration::from_secs(2);
/// How long a job is its worker's without a word of it.
const LEASE: Duration = Duration::from_secs(30);
/// How long Redis may be away before a job fails for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts at what did not work.
const AGAIN: Duration = Duration::from_millis(500);

/// Works on jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) store: Arc<Store>,
    pub(crate) redis: Redis,
    pub(crate) clock: Clock,
    /// How long entries are kept.
    pub(crate) ttl: Duration,
    id: Uuid,
    wake: Arc<Notify>,
}

/// Why a job is not at its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// For good, and why.
    Failed(String),
    /// Somebody else works on it.
    Lost,
    /// The database; it is tried again when the lease is over.
    Database(DbError),
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

/// A job on its way.
pub(crate) struct Run<'a> {
    worker: &'a Worker,
    job: &'a Claimed,
    progress: Progress,
}

impl Run<'_> {
    /// Tells how far it is.
    pub(crate) async fn tell(&mut self, change: impl FnOnce(&mut Progress)) -> Result<(), Stop> {
        change(&mut self.progress);
        let Worker { store, id, .. } = self.worker;
        if store.hold_job(*id, self.job, self.progress, LEASE).await? { Ok(()) } else { Err(Stop::Lost) }
    }
}

impl Worker {
    pub(crate) fn new(store: Arc<Store>, redis: Redis, clock: Clock, ttl: Duration) -> Self {
        Self { store, redis, clock, ttl, id: Uuid::new_v4(), wake: Arc::default() }
    }

    /// There is a new job.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Works until the process stops; a job that is under way then is given back.
    pub(crate) fn start(&self, tasks: &Tasks) {
        let (worker, end) = (self.clone(), tasks.clone());
        tasks.spawn("jobs", async move {
            loop {
                match worker.store.claim_job(worker.id, LEASE).await {
                    Ok(Some(job)) => {
                        tokio::select! {
                            () = end.stopping() => {
                                let _lapses = worker.store.release_job(worker.id, &job).await;
                                return;
                            }
                            () = worker.work(&job) => continue,
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "no job can be claimed"),
                }
                tokio::select! {
                    () = end.stopping() => return,
                    () = worker.wake.notified() => {}
                    () = sleep(LOOK) => {}
                }
            }
        });
    }

    /// Holds a job through steps that take long; ends when somebody else has it.
    async fn lost(&self, job: &Claimed) {
        loop {
            sleep(LEASE / 3).await;
            match self.store.keep_job(self.id, job, LEASE).await {
                Ok(true) => {}
                Ok(false) => return,
                // the next word of it may come through
                Err(error) => tracing::debug!(job = %job.id, %error, "a job cannot be held"),
            }
        }
    }

    async fn work(&self, job: &Claimed) {
        let Claimed { tenant, id, task } = job;
        tracing::info!(job = %id, %tenant, kind = task.kind(), "begins a job");
        let mut run = Run { worker: self, job, progress: Progress::default() };
        let work = async {
            match task {
                Task::CacheWarm(warm) => self.warm(&mut run, warm).await,
                Task::CacheClear(clear) => self.clear(&mut run, clear).await,
            }
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.lost(job) => Err(Stop::Lost),
        };
        let (state, note) = match outcome {
            Ok(note) => ("done", note),
            Err(Stop::Failed(why)) => ("failed", Some(why)),
            Err(Stop::Lost) => return tracing::warn!(job = %id, "another worker has taken a job over"),
            Err(Stop::Database(error)) if !error.is_retryable() => {
                tracing::error!(job = %id, %error, "the database refused a statement of a job");
                (
                    "failed",
                    Some("the vector database refused a statement, see the log of vector-store".to_owned()),
                )
            }
            Err(Stop::Database(error)) => {
                return tracing::warn!(job = %id, %error, "a job cannot go on, it is begun again");
            }
        };
        tracing::info!(job = %id, %tenant, kind = task.kind(), state, note, changed = run.progress.changed, "ended a job");
        let ended = self.store.end_job(self.id, *tenant, *id, state, run.progress, note.as_deref()).await;
        if let Err(error) = ended {
            tracing::warn!(job = %id, %error, "the end of a job cannot be written down, it is begun again");
        }
    }
}
