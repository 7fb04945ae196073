//! Batches of calls on their way to admin: on disk where there is a folder for it, so that they outlive this process, else in memory.
//!
//! A process's batches are numbered, and leave in the order of their numbers: admin knows one that comes again.

mod disk;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use embermesh_proto::internal::v1::RecordApiCallsRequest;
use prost::Message;
use uuid::Uuid;

use self::disk::Disk;
use super::call::Row;

/// Calls of one batch.
const TOGETHER: usize = 4096;
/// Bytes that wait in memory, at most.
const MOST_IN_MEMORY: u64 = 16 * 1024 * 1024;

/// What admin does not have yet.
#[derive(Debug)]
pub(super) struct Journal {
    inner: Mutex<Inner>,
    session: String,
    share: f32,
    /// The log says once that it is full, until it is not.
    full: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    waiting: Waiting,
    /// Of the last batch.
    number: i64,
    most: u64,
}

#[derive(Debug)]
enum Waiting {
    Disk {
        disk: Disk,
        /// The one batch that waits, and the length of its record: it need not be read again for an admin that takes it at once.
        fresh: Option<(RecordApiCallsRequest, usize)>,
    },
    Memory {
        batches: VecDeque<RecordApiCallsRequest>,
        bytes: u64,
    },
}

impl Journal {
    /// Holds at most `most` bytes on disk. Without a folder that this process can have for itself, it is in memory.
    pub fn open(data_dir: Option<&Path>, most: u64, share: f32) -> Self {
        let memory = || (Waiting::Memory { batches: VecDeque::new(), bytes: 0 }, MOST_IN_MEMORY);
        let (waiting, most) = match data_dir.map(|dir| Disk::open(&dir.join("api-requests"))) {
            Some(Ok(disk)) => (Waiting::Disk { disk, fresh: None }, most),
            Some(Err(error)) => {
                tracing::warn!(%error, "calls of the API are kept in memory until admin has them");
                memory()
            }
            None => memory(),
        };
        Self {
            inner: Mutex::new(Inner { waiting, number: 0, most }),
            session: Uuid::now_v7().to_string(),
            share,
            full: AtomicBool::new(false),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes calls down. `false`: there is no room for all of them.
    pub fn append(&self, rows: Vec<Row>) -> bool {
        let mut rows = rows.into_iter().map(Into::into);
        let mut whole = true;
        loop {
            let calls: Vec<_> = rows.by_ref().take(TOGETHER).collect();
            if calls.is_empty() {
                return whole;
            }
            whole &= self.append_batch(RecordApiCallsRequest {
                session_id: self.session.clone(),
                number: 0,
                calls,
                share: self.share,
            });
        }
    }

    fn append_batch(&self, mut batch: RecordApiCallsRequest) -> bool {
        let mut inner = self.inner();
        let Inner { waiting, number, most } = &mut *inner;
        batch.number = *number + 1;
        let length = batch.encoded_len() as u64;
        let written = match waiting {
            _ if waiting.bytes() + length > *most => Err(None),
            Waiting::Disk { disk, fresh } => {
                let (record, alone) = (batch.encode_to_vec(), disk.bytes() == 0);
                let written = disk.append(&record).map_err(Some);
                if written.is_ok() && alone {
                    *fresh = Some((batch, record.len()));
                }
                written
            }
            Waiting::Memory { batches, bytes } => {
                batches.push_back(batch);
                *bytes += length;
                Ok(())
            }
        };
        match written {
            Ok(()) => {
                *number += 1;
                self.full.store(false, Relaxed);
                true
            }
            Err(error) => {
                if !self.full.swap(true, Relaxed) {
                    let error = error.map(tracing::field::display);
                    tracing::warn!(error, "calls of the API are not recorded: there is no room for more");
                }
                false
            }
        }
    }

    /// The oldest batch, which stays until it is [`done`](Self::done).
    pub fn first(&self) -> Option<RecordApiCallsRequest> {
        match &mut self.inner().waiting {
            Waiting::Memory { batches, .. } => batches.front().cloned(),
            Waiting::Disk { disk, fresh } => loop {
                if let Some((batch, length)) = fresh.take() {
                    disk.found(length);
                    return Some(batch);
                }
                let record = disk.first()?;
                match RecordApiCallsRequest::decode(record.as_slice()) {
                    Ok(batch) => return Some(batch),
                    Err(error) => {
                        tracing::error!(%error, "a batch of calls on disk cannot be read, it is left out");
                        disk.done();
                    }
                }
            },
        }
    }

    /// The oldest batch need not be kept any more.
    pub fn done(&self) {
        match &mut self.inner().waiting {
            Waiting::Disk { disk, .. } => disk.done(),
            Waiting::Memory { batches, bytes } => {
                if let Some(batch) = batches.pop_front() {
                    *bytes = bytes.saturating_sub(batch.encoded_len() as u64);
                }
            }
        }
    }

    /// How much waits.
    pub fn bytes(&self) -> u64 {
        self.inner().waiting.bytes()
    }
}

impl Waiting {
    fn bytes(&self) -> u64 {
        match self {
            Self::Disk { disk, .. } => disk.bytes(),
            Self::Memory { bytes, .. } => *bytes,
        }
    }
}
