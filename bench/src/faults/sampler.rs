//! Looks at the budgets all the time: at no moment may more be spent and set aside than the limit.

use std::{collections::BTreeMap, time::Duration};

use embermesh_types::NanoUsd;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};

use super::{FaultError, books::Books, findings::Findings};

/// More was spent and set aside than there is.
pub const OVERSPENT: &str = "moments beyond a budget";
const EVERY: Duration = Duration::from_millis(10);
/// Before PostgreSQL is asked again after it did not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often.
    pub samples: u64,
    /// Moments beyond a budget.
    pub findings: Findings,
    /// The most that was committed of each limit, in nano-USD.
    pub most: BTreeMap<String, i64>,
}

/// A running watch.
#[derive(Debug)]
pub struct Sampler {
    stop: watch::Sender<bool>,
    task: JoinSet<Seen>,
}

impl Sampler {
    /// Watches these agents until it is stopped.
    #[must_use]
    pub fn start(url: &str, limits: BTreeMap<String, NanoUsd>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(watch_all(url.to_owned(), limits, stopped));
        Self { stop, task }
    }

    /// Ends it; what it saw.
    ///
    /// # Errors
    /// When it broke.
    pub async fn stop(mut self) -> Result<Seen, FaultError> {
        self.stop.send_replace(true);
        Ok(self.task.join_next().await.ok_or("the sampler is gone")??)
    }
}

async fn watch_all(url: String, limits: BTreeMap<String, NanoUsd>, stopped: watch::Receiver<bool>) -> Seen {
    let mut seen = Seen::default();
    let mut ticks = interval(EVERY);
    while !*stopped.borrow() {
        // it is killed now and then
        let Ok(books) = Books::open(&url).await else {
            sleep(PAUSE).await;
            continue;
        };
        while !*stopped.borrow() {
            ticks.tick().await;
            let Ok(committed) = books.committed().await else { break };
            seen.samples += 1;
            for (agent, committed) in committed {
                let Some(limit) = limits.get(&agent) else { continue };
                if committed > limit.0 {
                    seen.findings.note(OVERSPENT, format_args!("{agent}: {committed} of {}", limit.0));
                }
                let most = seen.most.entry(agent).or_default();
                *most = committed.max(*most);
            }
        }
    }
    seen
}
