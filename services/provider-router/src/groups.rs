//! Texts of one order wait together: one at a time is admitted to a deployment, and then takes along everybody who came meanwhile.
//! A lone text finds a deployment free and waits for nobody; under load calls grow instead of queues.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use embermesh_errors::Error;
use embermesh_providers::BatchLimits;
use tokio::sync::Notify;

use crate::{
    admission::{Admission, NotNow, Tried, too_late},
    attempts::Attempts,
    batch::{Batch, Load, Order},
    hashing::HashMap,
    text::Text,
};

/// Longest sleep before looking again: another group may have given something back.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Every group that has texts waiting.
#[derive(Debug)]
pub(crate) struct Groups {
    attempts: Arc<Attempts>,
    waiting: Mutex<HashMap<Arc<Order>, Arc<Group>>>,
}

/// Texts of one order that wait.
#[derive(Debug)]
pub(crate) struct Group {
    /// With the newest catalog entry that came along.
    order: RwLock<Arc<Order>>,
    queue: Mutex<VecDeque<Text>>,
    /// A call has ended, so that there may be room.
    room: Notify,
}

impl Group {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Text>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> Arc<Order> {
        Arc::clone(&self.order.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether anybody waits.
    fn is_awaited(&self) -> bool {
        let mut queue = self.queue();
        while queue.front().is_some_and(|text| !text.lead.is_awaited()) {
            queue.pop_front();
        }
        !queue.is_empty()
    }

    /// The tokens of the next call within `limits`.
    fn load(&self, limits: BatchLimits) -> u64 {
        let mut load = Load::default();
        for text in self.queue().iter() {
            if !load.takes(text, limits) {
                break;
            }
            load.add(text);
        }
        load.tokens
    }

    /// Takes out those who cannot wait that long.
    fn impatient(&self, wait: Duration) -> Vec<Text> {
        let until = Instant::now() + wait;
        let mut queue = self.queue();
        let (impatient, patient): (VecDeque<_>, VecDeque<_>) =
            queue.drain(..).partition(|text| text.deadline().is_some_and(|deadline| deadline < until));
        *queue = patient;
        impatient.into()
    }

    /// Takes what fits into one call, oldest first.
    fn draw(&self, limits: BatchLimits) -> Vec<Text> {
        let mut queue = self.queue();
        let (mut load, mut drawn) = (Load::default(), Vec::new());
        while let Some(text) = queue.pop_front() {
            if !text.lead.is_awaited() {
                continue;
            }
            if !load.takes(&text, limits) {
                queue.push_front(text);
                break;
            }
            load.add(&text);
            drawn.push(text);
        }
        drawn
    }
}

impl Groups {
    pub fn new(attempts: Arc<Attempts>) -> Self {
        Self { attempts, waiting: Mutex::default() }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<Order>, Arc<Group>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends texts on their way. Those that would wait for longer than they can are refused at once.
    pub fn submit(self: &Arc<Self>, order: Order, texts: Vec<Text>) {
        let order = Arc::new(order);
        let mut starting = None;
        {
            let mut waiting = self.waiting();
            let group = waiting.entry(Arc::clone(&order)).or_insert_with(|| {
                let (queue, order) = (Mutex::default(), RwLock::new(Arc::clone(&order)));
                let group = Arc::new(Group { order, queue, room: Notify::new() });
                starting = Some(Arc::clone(&group));
                group
            });
            if !Arc::ptr_eq(&group.order().model, &order.model) {
                // prices and limits of the catalog reach a group that is never empty too
                *group.order.write().unwrap_or_else(PoisonError::into_inner) = order;
            }
            let group = Arc::clone(group);
            let mut queue = group.queue();
            queue.extend(texts);
        }
        if let Some(group) = starting {
            let dispatching = Dispatching { groups: Arc::clone(self), group };
            // a lone text is on its way before this returns; only who has to wait needs a task
            if let Some(waits) = dispatching.go_on() {
                self.attempts.tasks.spawn("dispatch", dispatch(dispatching, waits));
            }
        }
    }

    /// Whether a deployment of the order has a limit of tokens, so that it pays to count them.
    pub fn counts_tokens(&self, order: &Order) -> bool {
        self.attempts.deployments.of(&order.model).iter().any(|d| d.account.most_tokens_at_once < u64::MAX)
    }

    /// How long a request of `tokens` would wait for its place in the rate limits now.
    pub fn estimate(&self, order: &Order, tokens: u64) -> Duration {
        // what waits already goes along in the same call, so one call is ahead at most
        self.attempts.estimate(order, 0, tokens)
    }

    /// Starts one call with what fits into it.
    fn send(&self, group: &Arc<Group>, order: Arc<Order>, admission: Admission) {
        let texts = group.draw(admission.limits);
        if texts.is_empty() {
            return;
        }
        let batch = Batch { order, texts, exact: false };
        let attempts = Arc::clone(&self.attempts);
        let group = Arc::clone(group);
        self.attempts.tasks.spawn("provider call", async move {
            attempts.carry(batch, admission).await;
            group.room.notify_one();
        });
    }

    /// Ends a group that nobody waits in; `false`: somebody has just come.
    fn retire(&self, group: &Arc<Group>) -> bool {
        let mut waiting = self.waiting();
        let empty = group.queue().is_empty();
        if empty {
            waiting.retain(|_, other| !Arc::ptr_eq(other, group));
        }
        empty
    }
}

/// A dispatcher at work. One that dies leaves no group behind that nobody serves.
struct Dispatching {
    groups: Arc<Groups>,
    group: Arc<Group>,
}

impl Dispatching {
    /// Sends calls until no further one can begin now: how long to wait then. `None`: nobody waits any more.
    fn go_on(&self) -> Option<Duration> {
        let Self { groups, group } = self;
        let tried = Tried::default();
        loop {
            if !group.is_awaited() {
                if groups.retire(group) {
                    return None;
                }
                continue;
            }
            let order = group.order();
            match groups.attempts.admit(&order, &|limits| group.load(limits), &tried) {
                Ok(admission) => groups.send(group, order, admission),
                Err(NotNow::Never(error)) => {
                    let texts = group.queue().drain(..).collect();
                    refuse(order, texts, &error);
                }
                Err(NotNow::Wait(wait)) => {
                    let impatient = group.impatient(wait);
                    let error = too_late(&order, wait);
                    refuse(order, impatient, &error);
                    return Some(wait.min(LOOK_AGAIN));
                }
            }
        }
    }
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        self.groups.waiting().retain(|_, other| !Arc::ptr_eq(other, &self.group));
        // nobody who waits for them is left waiting
        self.group.queue().clear();
    }
}

/// Sends calls until nobody waits.
async fn dispatch(dispatching: Dispatching, mut wait: Duration) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = dispatching.group.room.notified() => {}
        }
        match dispatching.go_on() {
            Some(longer) => wait = longer,
            None => return,
        }
    }
}

fn refuse(order: Arc<Order>, texts: Vec<Text>, error: &Error) {
    Batch { order, texts, exact: false }.fail(error);
}
