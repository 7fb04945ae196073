//! Signals: the first asks everybody to stop and waits, the second does not wait.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{Readiness, Tasks};

/// A process from start to exit.
#[derive(Debug)]
pub struct Lifecycle {
    /// For every background task.
    pub tasks: Tasks,
    /// For every part that has to be ready.
    pub readiness: Readiness,
    serving: crate::Condition,
    notice: Duration,
    grace: Duration,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every task ended by itself.
    Drained,
    /// The grace period or a second signal cut tasks off.
    CutOff,
}

impl Lifecycle {
    /// A process that goes on for `notice` once it is told to stop, ready no more, so that whoever sends it work learns of that, and may
    /// then take `grace` to finish what it has.
    pub fn new(notice: Duration, grace: Duration) -> Self {
        let readiness = Readiness::default();
        let serving = readiness.condition("serving");
        serving.set(true);
        Self { tasks: Tasks::new(), readiness, serving, notice, grace }
    }

    /// Waits for SIGTERM, SIGINT, or [`Tasks::stop`], then for the tasks.
    pub async fn run(self) -> io::Result<Outcome> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
            () = self.tasks.stopping() => {}
        }
        self.serving.set(false);
        // a second signal does not wait, and is not taken for a third
        tokio::select! {
            () = tokio::time::sleep(self.notice) => {}
            () = self.tasks.stopping() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.tasks.stop();
        let outcome = tokio::select! {
            finished = timeout(self.grace, self.tasks.finished()) => match finished {
                Ok(()) => Outcome::Drained,
                Err(_) => {
                    tracing::warn!(grace = ?self.grace, "grace period is over, dropping what still runs");
                    Outcome::CutOff
                }
            },
            _ = terminate.recv() => Outcome::CutOff,
            _ = interrupt.recv() => Outcome::CutOff,
        };
        self.tasks.abort();
        // dropped tasks end at their next await; give them a moment to do so
        let _ended = timeout(Duration::from_secs(1), self.tasks.finished()).await;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_cut_off_after_the_grace_period() {
        let lifecycle = Lifecycle::new(Duration::ZERO, Duration::from_secs(5));
        let tasks = lifecycle.tasks.clone();
        tasks.spawn("stubborn", std::future::pending::<()>());
        tasks.stop();
        assert_eq!(lifecycle.run().await.unwrap(), Outcome::CutOff);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_end_are_drained_and_readiness_is_withdrawn() {
        let lifecycle = Lifecycle::new(Duration::ZERO, Duration::from_secs(5));
        let (tasks, readiness) = (lifecycle.tasks.clone(), lifecycle.readiness.clone());
        tasks.spawn("polite", {
            let tasks = tasks.clone();
            async move { tasks.stopping().await }
        });
        assert!(readiness.is_ready());
        tasks.stop();
        assert_eq!(lifecycle.run().await.unwrap(), Outcome::Drained);
        assert!(!readiness.is_ready());
    }
}
