//! A router as far as money goes: pockets, a journal, and what it has under way.

use std::collections::BTreeMap;

use embermesh_escrow::{Draw, Path, Pocket, day_of};
use embermesh_types::{AttemptId, NanoUsd};
use jiff::{Timestamp, civil::Date};

use super::calls::Call;
use crate::domain::{
    ids::{LeaseId, SessionId},
    post::{Entry, Post, Returned},
};

#[derive(Debug)]
pub(super) struct Held {
    pub id: LeaseId,
    pub path: Path,
    pub day: Date,
    pub pocket: Pocket,
}

/// What a kill -9 leaves: what was written down, and how much of it the ledger has.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    pub session: SessionId,
    pub entries: Vec<Entry>,
    pub posted: usize,
}

impl Journal {
    /// Entries `from..to` as a message.
    pub fn post(&self, from: usize, to: usize) -> Post {
        let entries = self.entries[from..to].iter().cloned().enumerate().collect();
        Post { session: Some(self.session), entries, rejected: Vec::new() }
    }

    /// What the ledger has not acknowledged.
    pub fn clone_from_posted(&self) -> Self {
        self.clone_range(self.posted, self.entries.len())
    }

    pub fn clone_range(&self, from: usize, to: usize) -> Self {
        Self { session: self.session, entries: self.entries[from..to].to_vec(), posted: 0 }
    }

    /// Attempts without an end.
    pub fn open(&self) -> Vec<Entry> {
        let mut open = BTreeMap::new();
        for entry in &self.entries {
            match entry {
                Entry::Reserved(reserve) => {
                    open.insert(
                        reserve.attempt,
                        super::calls::attempted(reserve.attempt, reserve.created_at),
                    );
                }
                Entry::Settled(settlement) => drop(open.remove(&settlement.attempt)),
                _ => {}
            }
        }
        open.into_values().map(Entry::Presumed).collect()
    }
}

#[derive(Debug)]
pub(super) struct Router {
    pub journal: Journal,
    pub leases: Vec<Held>,
    pub open: BTreeMap<AttemptId, Call>,
    /// A lease whose answer was lost.
    pub unanswered: Option<(LeaseId, Path)>,
}

impl Router {
    pub fn new(session: SessionId) -> Self {
        let journal = Journal { session, entries: Vec::new(), posted: 0 };
        Self { journal, leases: Vec::new(), open: BTreeMap::new(), unanswered: None }
    }

    /// Takes `bound` out of a lease of the path and the day, if one has so much.
    pub fn draw(&self, path: &Path, now: Timestamp, bound: NanoUsd) -> Option<LeaseId> {
        let today = day_of(now.into());
        let of_path = self.leases.iter().filter(|held| held.path == *path && held.day == today);
        of_path.into_iter().find(|held| held.pocket.draw(bound.into()) == Draw::Taken).map(|held| held.id)
    }

    /// A call ends at `amount`.
    pub fn end(&mut self, call: &Call, amount: NanoUsd) {
        if let Some(held) = self.leases.iter().find(|held| Some(held.id) == call.lease) {
            held.pocket.end(call.bound.into(), amount.into());
        }
        self.sweep();
    }

    /// Gives back the leases that `out` chooses, and those of another day.
    pub fn close(&mut self, now: Timestamp, out: impl Fn(&Held) -> bool) {
        let today = day_of(now.into());
        for held in self.leases.iter().filter(|held| held.day != today || out(held)) {
            held.pocket.close();
        }
        self.sweep();
    }

    fn sweep(&mut self) {
        self.leases.retain(|held| {
            let Some(swept) = held.pocket.sweep() else { return true };
            if swept.is_news || swept.closes {
                let (lease, amount, closes) = (held.id, swept.amount, swept.closes);
                self.journal.entries.push(Entry::Returned(Returned { lease, amount, closes }));
            }
            !swept.closes
        });
    }
}
