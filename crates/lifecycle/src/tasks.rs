//! Tasks that are named, tracked, and told to stop.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Where every background task is started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Tasks {
    /// No tasks yet, not stopping.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        // hard cancellation implies the soft one
        Self { tracker: TaskTracker::new(), soft: hard.child_token(), hard }
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
        let future = Box::pin(future);
        let task = async move { hard.run_until_cancelled_owned(future).await };
        tokio::spawn(self.tracker.track_future(task.instrument(tracing::debug_span!("task", name))))
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
