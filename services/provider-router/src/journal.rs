//! What this process owes the books, on disk before anything depends on it: attempts and their ends, cache hits, leases given back. A
//! plain write outlives the process; the ledger gets it all a moment later, in order, and again after a crash.
//!
//! Not a log for people, and not the books: what the ledger has taken is deleted.

mod backlog;
mod post;
mod record;
mod replay;
mod segments;
mod session;
mod ship;
mod sync;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use embermesh_proto::internal::v1::Entry;
use embermesh_types::{AttemptId, TenantId};
use tokio::sync::Notify;
use uuid::Uuid;

use self::segments::{Place, Segments, Span};
pub(crate) use self::{
    post::Poster, replay::replay, segments::Kept, session::Session, ship::ship, sync::sync,
};

/// Entries that wait in memory for the ledger; of those beyond, it gets what is on disk.
const IN_MEMORY: usize = 16 * 1024;

/// This process's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    session: Session,
    inner: Mutex<Inner>,
    /// Something was written.
    written: Notify,
    /// Somebody waits for the ledger to have what was written.
    hurried: Notify,
    entries: AtomicU64,
    taken: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    segments: Segments,
    buffer: Vec<u8>,
    queue: VecDeque<Queued>,
    /// From here on it is only on disk.
    behind: Option<Place>,
    /// Could not be written, and goes to the ledger from memory once it has all that came before.
    unwritten: VecDeque<(TenantId, Entry)>,
    /// All before it is in the books.
    acknowledged: Place,
    /// Nothing is written any more.
    sealed: bool,
}

/// What goes to the ledger.
#[derive(Debug)]
struct Queued {
    tenant: TenantId,
    entry: Entry,
    end: Place,
}

/// How far the ledger is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub entries: u64,
    pub bytes: u64,
}

impl Journal {
    /// Begins the journal of this process under `dir`.
    pub fn create(dir: &Path, id: Uuid) -> io::Result<Self> {
        let session = Session::create(dir, id)?;
        let inner = Inner {
            segments: Segments::new(&session.dir),
            buffer: Vec::with_capacity(4096),
            queue: VecDeque::new(),
            behind: None,
            unwritten: VecDeque::new(),
            acknowledged: Place::default(),
            sealed: false,
        };
        Ok(Self {
            session,
            inner: Mutex::new(inner),
            written: Notify::new(),
            hurried: Notify::new(),
            entries: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        })
    }

    /// The session's id, a UUID.
    pub fn session(&self) -> &str {
        &self.session.id
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what begins an attempt: it is on disk when this returns, and stays until the attempt has ended. When it cannot be
    /// written, the entry comes back.
    pub fn begin(&self, tenant: TenantId, entry: Entry) -> Result<Kept, Box<Entry>> {
        let mut inner = self.inner();
        let Ok(span) = inner.write(|buffer| record::write_entry(buffer, tenant, &entry)) else {
            return Err(Box::new(entry));
        };
        let Some(kept) = inner.segments.keep() else { return Err(Box::new(entry)) };
        inner.enqueue(span, std::iter::once((tenant, entry)));
        drop(inner);
        self.count(1);
        Ok(kept)
    }

    /// Notes that the ledger is about to be asked for `attempt`, for a replay to know. `None`: it cannot be noted.
    pub fn note(&self, tenant: TenantId, attempt: AttemptId) -> Option<Kept> {
        let mut inner = self.inner();
        inner.write(|buffer| record::write_noted(buffer, tenant, attempt)).ok()?;
        inner.segments.keep()
    }

    /// Writes entries down; what cannot be written reaches the ledger from memory.
    pub fn put(&self, entries: impl IntoIterator<Item = (TenantId, Entry)>) {
        let entries: Vec<(TenantId, Entry)> = entries.into_iter().collect();
        let count = entries.len() as u64;
        let mut inner = self.inner();
        let written = inner.write(|buffer| {
            entries.iter().for_each(|(tenant, entry)| record::write_entry(buffer, *tenant, entry));
        });
        match written {
            Ok(span) => inner.enqueue(span, entries.into_iter()),
            Err(_) => inner.unwritten.extend(entries),
        }
        drop(inner);
        self.count(count);
    }

    /// As [`Self::put`], of one.
    pub fn put_one(&self, tenant: TenantId, entry: Entry) {
        let mut inner = self.inner();
        match inner.write(|buffer| record::write_entry(buffer, tenant, &entry)) {
            Ok(span) => inner.enqueue(span, std::iter::once((tenant, entry))),
            Err(_) => inner.unwritten.push_back((tenant, entry)),
        }
        drop(inner);
        self.count(1);
    }

    /// Has the ledger get what was written without waiting for more.
    pub fn hurry(&self) {
        self.hurried.notify_one();
        self.written.notify_one();
    }

    fn count(&self, entries: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.written.notify_one();
    }

    /// Takes what the ledger gets next, oldest first, at most `most`.
    fn take(&self, most: usize) -> Vec<Queued> {
        let mut inner = self.inner();
        let most = most.min(inner.queue.len());
        inner.queue.drain(..most).collect()
    }

    /// Where to go on reading on disk, and where that ends; `None`: everything is in memory.
    fn behind(&self) -> Option<(Place, Place)> {
        let inner = self.inner();
        inner.behind.map(|from| (from, inner.segments.end()))
    }

    /// All up to `place` was read on disk. `true`: that is all there was, what comes from now on is in memory again.
    fn caught_up(&self, place: Place) -> bool {
        let mut inner = self.inner();
        let all =
            (place.segment, place.offset) >= (inner.segments.end().segment, inner.segments.end().offset);
        inner.behind = if all { None } else { Some(place) };
        all
    }

    /// What could not be written, once all that was is with the ledger.
    fn take_unwritten(&self) -> Vec<(TenantId, Entry)> {
        let mut inner = self.inner();
        if inner.behind.is_some() || !inner.queue.is_empty() {
            return Vec::new();
        }
        inner.unwritten.drain(..).collect()
    }

    /// The ledger has `entries` more, and with them all up to `place`.
    fn acknowledge(&self, place: Option<Place>, entries: usize) {
        self.taken.fetch_add(entries as u64, Ordering::Relaxed);
        let Some(place) = place else { return };
        let done = {
            let mut inner = self.inner();
            let all = inner.queue.is_empty() && inner.behind.is_none();
            inner.acknowledged = if all { inner.segments.end() } else { place };
            inner.segments.done(place)
        };
        for path in done {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a part of the journal");
            }
        }
    }

    /// How far the ledger is behind.
    pub fn backlog(&self) -> Backlog {
        let inner = self.inner();
        let bytes = inner.segments.end().written.saturating_sub(inner.acknowledged.written);
        drop(inner);
        let taken = self.taken.load(Ordering::Relaxed);
        Backlog { entries: self.entries.load(Ordering::Relaxed).saturating_sub(taken), bytes }
    }

    /// Attempts that have begun and not ended.
    pub fn open(&self) -> usize {
        self.inner().segments.kept()
    }

    /// From now on nothing can be written. `false`: an attempt has begun meanwhile, and must end first.
    fn seal(&self) -> bool {
        let mut inner = self.inner();
        inner.sealed = inner.segments.kept() == 0;
        inner.sealed
    }

    /// As when the process has died.
    #[cfg(test)]
    pub fn release(&self) {
        self.session.unlock();
    }

    /// Takes what is in memory, as if the ledger had it; returns how much.
    #[cfg(feature = "testing")]
    pub fn discard(&self) -> usize {
        let mut discarded = 0;
        loop {
            let queued = self.take(512);
            let Some(last) = queued.last() else { return discarded };
            self.acknowledge(Some(last.end), queued.len());
            discarded += queued.len();
        }
    }

    fn file(&self) -> Option<Arc<File>> {
        self.inner().segments.file()
    }
}

impl Inner {
    fn write(&mut self, records: impl FnOnce(&mut Vec<u8>)) -> io::Result<Span> {
        if self.sealed {
            return Err(io::Error::other("the journal is closed"));
        }
        self.buffer.clear();
        records(&mut self.buffer);
        let written = self.segments.append(&self.buffer);
        if let Err(error) = &written {
            tracing::warn!(%error, "the journal cannot be written");
        }
        if self.buffer.capacity() > 1024 * 1024 {
            self.buffer = Vec::with_capacity(4096);
        }
        written
    }

    fn enqueue(&mut self, span: Span, entries: impl ExactSizeIterator<Item = (TenantId, Entry)>) {
        if self.behind.is_none() && self.queue.len() + entries.len() <= IN_MEMORY {
            let end = span.end;
            self.queue.extend(entries.map(|(tenant, entry)| Queued { tenant, entry, end }));
        } else {
            self.behind.get_or_insert(span.start);
        }
    }
}

#[cfg(test)]
mod tests;
