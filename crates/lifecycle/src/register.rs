//! Which tasks run, and what each kind of them has taken of the processor: what an operator asks when a process is slow.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// A task that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    /// Its kind.
    pub name: &'static str,
    /// Since it was started.
    pub age: Duration,
    /// How often it was polled.
    pub polls: u64,
    /// How long it was polled for in all, without the poll of now.
    pub busy: Duration,
    /// How long the poll of now has taken; `None`: it waits.
    pub polled_for: Option<Duration>,
}

/// What tasks of one name have come to since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// Tasks that were started.
    pub started: u64,
    /// Polls of all of them.
    pub polls: u64,
    /// Time that they were polled for.
    pub busy: Duration,
}

/// All of a process.
#[derive(Debug)]
pub(crate) struct Register {
    began: Instant,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Arc<Entry>>>,
    by_name: Mutex<BTreeMap<&'static str, Arc<Kind>>>,
}

#[derive(Debug, Default)]
struct Kind {
    started: AtomicU64,
    polls: AtomicU64,
    busy_nanos: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    /// Times are nanoseconds since the register began.
    began: u64,
    polls: AtomicU64,
    busy_nanos: AtomicU64,
    /// 0: it waits.
    polled_since: AtomicU64,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            next: AtomicU64::new(0),
            running: Mutex::default(),
            by_name: Mutex::default(),
        }
    }
}

impl Register {
    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kind(&self, name: &'static str) -> Arc<Kind> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_name.entry(name).or_default())
    }

    /// Every task that runs, oldest first.
    pub(crate) fn tasks(&self) -> Vec<RunningTask> {
        let entries: Vec<Arc<Entry>> = self.running().values().cloned().collect();
        let now = self.nanos();
        let age = |since: u64| Duration::from_nanos(now.saturating_sub(since));
        let mut tasks: Vec<RunningTask> = entries
            .iter()
            .map(|entry| RunningTask {
                name: entry.name,
                age: age(entry.began),
                polls: entry.polls.load(Relaxed),
                busy: Duration::from_nanos(entry.busy_nanos.load(Relaxed)),
                polled_for: Some(entry.polled_since.load(Relaxed)).filter(|since| *since > 0).map(age),
            })
            .collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.age));
        tasks
    }

    /// What tasks of each name have come to.
    pub(crate) fn totals(&self) -> BTreeMap<&'static str, TaskTotals> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = |kind: &Kind| TaskTotals {
            started: kind.started.load(Relaxed),
            polls: kind.polls.load(Relaxed),
            busy: Duration::from_nanos(kind.busy_nanos.load(Relaxed)),
        };
        by_name.iter().map(|(name, kind)| (*name, totals(kind))).collect()
    }
}

/// A task in the register until it ends or is dropped.
#[derive(Debug)]
pub(crate) struct Watched<F> {
    future: Pin<Box<F>>,
    number: u64,
    entry: Arc<Entry>,
    kind: Arc<Kind>,
    register: Arc<Register>,
}

impl<F> Watched<F> {
    pub(crate) fn new(name: &'static str, future: Pin<Box<F>>, register: &Arc<Register>) -> Self {
        let kind = register.kind(name);
        kind.started.fetch_add(1, Relaxed);
        let entry = Arc::new(Entry {
            name,
            began: register.nanos(),
            polls: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            polled_since: AtomicU64::new(0),
        });
        let number = register.next.fetch_add(1, Relaxed);
        register.running().insert(number, Arc::clone(&entry));
        Self { future, number, entry, kind, register: Arc::clone(register) }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let since = self.register.nanos().max(1);
        self.entry.polled_since.store(since, Relaxed);
        let polled = self.future.as_mut().poll(cx);
        let busy = self.register.nanos().saturating_sub(since);
        let Self { entry, kind, .. } = &*self;
        entry.polled_since.store(0, Relaxed);
        for (polls, nanos) in [(&entry.polls, &entry.busy_nanos), (&kind.polls, &kind.busy_nanos)] {
            polls.fetch_add(1, Relaxed);
            nanos.fetch_add(busy, Relaxed);
        }
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        self.register.running().remove(&self.number);
    }
}
