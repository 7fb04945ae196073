//! Brings the journal to the ledger, in order, a moment after it was written.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::Entry;
use embermesh_types::TenantId;
use tokio::time::sleep;

use super::{
    Journal, Poster, Queued,
    backlog::{self, Page},
    record::Record,
    segments::Place,
};

/// How long an entry waits for company: the ledger books many as fast as one, and an attempt that begins and ends in one message is a row
/// that is written once.
const GATHER: Duration = Duration::from_millis(100);
/// Entries of one message.
const TOGETHER: usize = 1024;
/// At the end: how long after the last entry another may come.
const DRAIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// Runs until the process stops, then until everything is in the books, and ends the session.
pub(crate) async fn ship(journal: Arc<Journal>, poster: Poster, tasks: Tasks) {
    let mut shipper = Shipper { journal, poster, at: Place::default() };
    loop {
        tokio::select! {
            () = shipper.journal.written.notified() => {}
            () = tasks.stopping() => break,
        }
        tokio::select! {
            () = shipper.journal.hurried.notified() => {}
            () = sleep(GATHER) => {}
        }
        shipper.deliver().await;
    }
    shipper.wind_down().await;
}

struct Shipper {
    journal: Arc<Journal>,
    poster: Poster,
    /// All before it was taken.
    at: Place,
}

impl Shipper {
    /// Until nothing is left.
    async fn deliver(&mut self) {
        loop {
            let taken = self.journal.take(TOGETHER);
            if !taken.is_empty() {
                self.queued(taken).await;
            } else if let Some((from, to)) = self.journal.behind() {
                self.catch_up(from, to).await;
            } else {
                let unwritten = self.journal.take_unwritten();
                if unwritten.is_empty() {
                    return;
                }
                let count = unwritten.len();
                self.poster.post(self.journal.session(), unwritten).await;
                self.journal.acknowledge(None, count);
            }
        }
    }

    async fn queued(&mut self, taken: Vec<Queued>) {
        let Some(end) = taken.last().map(|last| last.end) else { return };
        let count = taken.len();
        let entries = taken.into_iter().map(|queued| (queued.tenant, queued.entry)).collect();
        if !self.poster.try_post(self.journal.session(), entries).await {
            // they are on disk, so that the rare failure pays for keeping them and not every message
            let mut from = self.at;
            while let Some((entries, next)) = self.page(from, end).await {
                self.poster.post(self.journal.session(), entries).await;
                from = next;
            }
        }
        self.at = end;
        self.journal.acknowledge(Some(end), count);
    }

    async fn catch_up(&mut self, from: Place, to: Place) {
        let (count, next) = match self.page(from, to).await {
            Some((entries, next)) => {
                let count = entries.len();
                self.poster.post(self.journal.session(), entries).await;
                (count, next)
            }
            None => (0, to),
        };
        self.at = next;
        self.journal.caught_up(next);
        self.journal.acknowledge(Some(next), count);
    }

    /// The next entries on disk, and where to go on; `None`: there are no more.
    async fn page(&self, from: Place, to: Place) -> Option<(Vec<(TenantId, Entry)>, Place)> {
        loop {
            match self.read(from, to).await {
                Ok(page) if page.records.is_empty() => return None,
                Ok(page) => {
                    let entry = |(tenant, record)| match record {
                        Record::Entry(entry) => Some((tenant, *entry)),
                        Record::Noted(_) | Record::Unknown => None,
                    };
                    return Some((page.records.into_iter().filter_map(entry).collect(), page.next));
                }
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read, trying again");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn read(&self, from: Place, to: Place) -> io::Result<Page> {
        let dir = self.journal.session.dir.clone();
        let reading = tokio::task::spawn_blocking(move || backlog::read(&dir, from, to, TOGETHER));
        reading.await.map_err(io::Error::other)?
    }

    /// Waits for what is under way, posts the rest, and ends the session. When the process has to go before, the next one does it.
    async fn wind_down(&mut self) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            self.deliver().await;
            let written = self.journal.entries.load(Ordering::Relaxed);
            if written != last || self.journal.open() > 0 {
                (last, since) = (written, Instant::now());
            }
            if since.elapsed() >= DRAIN && self.journal.seal() {
                break;
            }
            sleep(LOOK).await;
        }
        self.deliver().await;
        self.poster.close(self.journal.session()).await;
        if let Err(error) = self.journal.session.remove() {
            tracing::warn!(%error, "cannot remove the journal, which is in the books");
        }
    }
}
