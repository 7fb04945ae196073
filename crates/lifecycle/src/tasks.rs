//! Tasks that are named, tracked, and told to stop.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::register::{Register, RunningTask, TaskTotals, Watched};

/// Where every background task is started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    register: Arc<Register>,
}

impl Tasks {
    /// No tasks yet, not stopping.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        // hard cancellation implies the soft one
        Self { tracker: TaskTracker::new(), soft: hard.child_token(), hard, register: Arc::default() }
    }

    /// Starts a task. Hard cancellation drops it at its next await.
    #[expect(clippy::disallowed_methods, reason = "this is the tracked spawn that everybody else calls")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hard = self.hard.clone();
        // in a box at once: each wrapper here and in tokio moves what it wraps several times, and some futures have 40 KB
        let future = Watched::new(name, Box::pin(future), &self.register);
        let task = async move { hard.run_until_cancelled_owned(future).await };
        tokio::spawn(self.tracker.track_future(task.instrument(tracing::debug_span!("task", name))))
    }

    /// Every task that has not ended, oldest first.
    pub fn running(&self) -> Vec<RunningTask> {
        self.register.tasks()
    }

    /// What tasks have come to since the process began, by name.
    pub fn totals(&self) -> BTreeMap<&'static str, TaskTotals> {
        self.register.totals()
    }

    /// Ends when the process should take no new work.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Whether the process should take no new work.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Asks every task to finish what it has and end.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Drops every task.
    pub fn abort(&self) {
        self.hard.cancel();
    }

    /// Waits until every task has ended.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_known_until_they_end_with_what_they_take() {
        let tasks = Tasks::new();
        let waits = tasks.spawn("waits", std::future::pending::<()>());
        let works = tasks.spawn("works", async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        works.await.unwrap();
        let running = tasks.running();
        assert_eq!(running.len(), 1, "{running:?}");
        assert_eq!((running[0].name, running[0].polls, running[0].polled_for), ("waits", 1, None));
        let totals = tasks.totals();
        assert_eq!((totals["works"].started, totals["works"].polls), (1, 4));
        tasks.abort();
        assert_eq!(waits.await.unwrap(), None);
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn stop_lets_a_task_finish_and_abort_does_not() {
        let tasks = Tasks::new();
        let polite = tasks.spawn("polite", {
            let tasks = tasks.clone();
            async move {
                tasks.stopping().await;
                "done"
            }
        });
        let stubborn = tasks.spawn("stubborn", std::future::pending::<()>());
        tasks.stop();
        assert_eq!(polite.await.unwrap(), Some("done"));
        tasks.abort();
        assert_eq!(stubborn.await.unwrap(), None);
        tasks.finished().await;
    }
}
