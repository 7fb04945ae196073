//! When keys were last used: noted in memory by every request that shows one, told to admin once in an interval.
//!
//! A note costs a request a lookup and, once in a second for each key, an atomic write; no lock, no clock and no allocation.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use embermesh_auth::Principal;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{ReportKeyUseRequest, UsedKey, key_use_client::KeyUseClient};
use embermesh_subscription::Subscription;
use embermesh_transport::Transport;
use embermesh_types::{Clock, KeyId, TenantId};
use tokio::time::Instant;

/// What a note is exact to.
const SECOND: Duration = Duration::from_secs(1);
/// Below this the reports would be the work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// For one report, the last one included, which a stopping process waits for.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Keys in one message.
const MOST_KEYS: usize = 5_000;

/// Where uses are told.
#[derive(Debug)]
pub(crate) struct Reporting {
    /// Keeps them.
    pub admin: Transport,
    /// Tells which keys there are.
    pub subscription: Subscription,
    /// Between two reports.
    pub interval: Duration,
}

/// The last uses of keys. Cheap to clone; all clones note into the same place.
#[derive(Clone)]
pub(crate) struct KeyUse(Arc<Uses>);

struct Uses {
    /// Since 1970, moved on by the task that reports: to read the clock would cost more than all the rest of a note.
    second: AtomicU32,
    /// Read without a lock.
    marks: ArcSwap<Marks>,
    /// Keys that are not in `marks` yet. Whoever replaces `marks` holds this.
    new: Mutex<Marks>,
}

type Marks = HashMap<KeyId, Arc<Mark>, BuildHasherDefault<IdHasher>>;

/// Of one key; both in seconds since 1970.
struct Mark {
    tenant: TenantId,
    used: AtomicU32,
    /// What admin knows.
    told: AtomicU32,
}

impl Mark {
    fn note(&self, second: u32) {
        // a key in use is read by every core, and written by one of them once a second
        if self.used.load(Relaxed) < second {
            self.used.fetch_max(second, Relaxed);
        }
    }

    fn is_due(&self) -> bool {
        self.used.load(Relaxed) > self.told.load(Relaxed)
    }
}

impl KeyUse {
    /// Nothing was used yet.
    pub fn new(clock: &Clock) -> Self {
        let uses = Uses { second: AtomicU32::new(0), marks: ArcSwap::default(), new: Mutex::default() };
        uses.look_at(clock);
        Self(Arc::new(uses))
    }

    /// Notes that a key was used now. It must have been proved.
    pub fn note(&self, principal: &Principal) {
        let second = self.0.second.load(Relaxed);
        match self.0.marks.load().get(&principal.key) {
            Some(mark) => mark.note(second),
            None => self.0.first(principal, second),
        }
    }

    /// Starts the task that moves the time on and reports, once more when the process stops.
    pub fn report(&self, to: Reporting, clock: Clock, tasks: &Tasks) {
        let (uses, stopping) = (Arc::clone(&self.0), tasks.clone());
        tasks.spawn("key use", async move {
            let interval = to.interval.max(SHORTEST_INTERVAL);
            let mut admin = KeyUseClient::new(to.admin);
            let mut reported = Instant::now();
            while !stopping.is_stopping() {
                tokio::select! {
                    () = stopping.stopping() => {}
                    () = tokio::time::sleep(interval.min(SECOND)) => {}
                }
                uses.look_at(&clock);
                if reported.elapsed() >= interval || stopping.is_stopping() {
                    reported = Instant::now();
                    uses.tell(&mut admin).await;
                    let keys = to.subscription.current();
                    uses.forget_unless(|id| keys.key(id).is_some());
                }
            }
        });
    }
}

impl Uses {
    fn look_at(&self, clock: &Clock) {
        let since = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.second.store(u32::try_from(since.as_secs()).unwrap_or(u32::MAX), Relaxed);
    }

    fn newcomers(&self) -> MutexGuard<'_, Marks> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first uses of a key.
    #[cold]
    fn first(&self, principal: &Principal, second: u32) {
        let mut new = self.newcomers();
        let marks = self.marks.load();
        if let Some(mark) = marks.get(&principal.key) {
            return mark.note(second);
        }
        let mark = new.entry(principal.key.clone()).or_insert_with(|| {
            Arc::new(Mark { tenant: principal.tenant, used: AtomicU32::new(0), told: AtomicU32::new(0) })
        });
        mark.note(second);
        // a share of what is there, so that copying adds up to a few times the number of keys, however many come
        if new.len() > marks.len() / 8 {
            let mut all = Marks::clone(&marks);
            all.extend(new.drain());
            self.marks.store(Arc::new(all));
        }
    }

    /// Tells admin what it does not know. What it does not take is told the next time.
    async fn tell(&self, admin: &mut KeyUseClient<Transport>) {
        let due: Vec<(KeyId, Arc<Mark>)> = {
            let (new, marks) = (self.newcomers(), self.marks.load());
            let due = marks.iter().chain(new.iter()).filter(|(_, mark)| mark.is_due());
            due.map(|(id, mark)| (id.clone(), Arc::clone(mark))).collect()
        };
        for some in due.chunks(MOST_KEYS) {
            let told: Vec<u32> = some.iter().map(|(_, mark)| mark.used.load(Relaxed)).collect();
            let keys = some.iter().zip(&told).map(|((id, mark), second)| UsedKey {
                tenant_id: mark.tenant.to_string(),
                key_id: id.to_string(),
                last_used_at: Some(prost_types::Timestamp { seconds: i64::from(*second), nanos: 0 }),
            });
            let mut request = tonic::Request::new(ReportKeyUseRequest { keys: keys.collect() });
            request.set_timeout(REPORT_TIMEOUT);
            if let Err(status) = admin.report(request).await {
                tracing::debug!(%status, keys = due.len(), "admin did not take when keys were used");
                return;
            }
            for ((_, mark), second) in some.iter().zip(told) {
                mark.told.fetch_max(second, Relaxed);
            }
        }
    }

    /// Forgets what is told of keys that do not exist any more.
    fn forget_unless(&self, exists: impl Fn(&KeyId) -> bool) {
        let mut new = self.newcomers();
        let marks = self.marks.load();
        let keeps = |id: &KeyId, mark: &Mark| mark.is_due() || exists(id);
        new.retain(|id, mark| keeps(id, mark));
        if marks.iter().any(|(id, mark)| !keeps(id, mark)) {
            let kept = marks.iter().filter(|(id, mark)| keeps(id, mark));
            self.marks.store(Arc::new(kept.map(|(id, mark)| (id.clone(), Arc::clone(mark))).collect()));
        }
    }
}

impl fmt::Debug for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyUse").field("keys", &self.0.marks.load().len()).finish_non_exhaustive()
    }
}

/// For ids of keys that were proved: they were drawn at random by admin, so nobody can choose ones that collide, and a few
/// multiplications are enough.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn finish(&self) -> u64 {
        // a product is well mixed in its upper half only
        self.0.rotate_left(32)
    }
}

#[cfg(test)]
mod tests;
