//! Rows in memory, a place for each thread: a call pays for a lock that nobody else wants, and for no allocation once it has grown.

use std::{
    cell::Cell,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicI64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
};

use super::call::Row;

/// Threads beyond share places.
const PLACES: usize = 32;
/// Rows of a place; with more, whoever brings the last one takes them to the journal.
const MOST: usize = 4096;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = Cell::new(NEXT_THREAD.fetch_add(1, Relaxed) % PLACES);
}

/// What has ended and is not in the journal yet.
#[derive(Debug)]
pub(super) struct Buffer {
    places: Box<[Place]>,
    share: f32,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place {
    held: Mutex<Held>,
    /// Calls that began here less those that ended here; only the sum over all places means something.
    under_way: AtomicI64,
}

#[derive(Debug, Default)]
struct Held {
    rows: Vec<Row>,
    /// Share of a row that is due: one is kept whenever it is whole.
    due: f32,
}

impl Buffer {
    /// Keeps a `share` of the rows.
    pub fn new(share: f32) -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect(), share }
    }

    fn place(&self) -> &Place {
        // thread-locals are gone when a thread ends
        &self.places[PLACE.try_with(Cell::get).unwrap_or_default()]
    }

    /// A call has begun.
    pub fn enter(&self) {
        self.place().under_way.fetch_add(1, AcqRel);
    }

    /// A call has ended, and its row is here.
    pub fn leave(&self) {
        self.place().under_way.fetch_sub(1, AcqRel);
    }

    /// Whether any call is under way.
    pub fn is_busy(&self) -> bool {
        self.places.iter().map(|place| place.under_way.load(Acquire)).sum::<i64>() != 0
    }

    /// Keeps a row. When its place is full all of it comes back, to be written down by the caller.
    pub fn push(&self, row: Row) -> Option<Vec<Row>> {
        let mut held = self.place().held.lock().unwrap_or_else(PoisonError::into_inner);
        held.due += self.share;
        if held.due < 1.0 {
            return None;
        }
        held.due -= 1.0;
        held.rows.push(row);
        (held.rows.len() >= MOST).then(|| mem::take(&mut held.rows))
    }

    /// Takes everything, by places.
    pub fn take(&self) -> impl Iterator<Item = Vec<Row>> {
        self.places.iter().filter_map(|place| {
            let mut held = place.held.lock().unwrap_or_else(PoisonError::into_inner);
            let room = held.rows.len();
            // as much room as was needed, so that the next rows find it
            (room > 0).then(|| mem::replace(&mut held.rows, Vec::with_capacity(room)))
        })
    }
}
