//! The queue of a pool: requests in turn, each handed out slice by slice.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::PoolError;

/// Text that makes a full slice, about 500 tokens of prose: enough for the matrix products to run at full speed, and
/// some 50 ms at most before the next request has its turn.
const SLICE_BYTES: usize = 2_048;

type Reply = oneshot::Sender<Result<Vec<Vec<f32>>, PoolError>>;

/// Lock order: the queue before a job.
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    workers: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    closed: bool,
}

impl Queue {
    pub fn new(workers: usize) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), workers }
    }

    /// Appends a request. On a closed queue it is dropped, and with it its reply.
    pub fn push(&self, job: Arc<Job>) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.jobs.push_back(job);
            self.ready.notify_all();
        }
    }

    /// The next slice of the next request, waiting for one; `None` once the queue is closed.
    pub fn next_slice(&self) -> Option<(Arc<Job>, Range<usize>)> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            let Some(job) = state.jobs.pop_front() else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some((slice, more)) = job.take_slice(self.workers) {
                if more {
                    state.jobs.push_back(Arc::clone(&job));
                }
                return Some((job, slice));
            }
        }
    }

    /// Ends the workers' loops and drops what waits.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.jobs.clear();
        self.ready.notify_all();
    }
}

/// One request and how far it is.
pub(super) struct Job {
    texts: Vec<Arc<str>>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// The first text not handed out.
    next: usize,
    /// Slices handed out and not finished.
    running: usize,
    vectors: Vec<Vec<f32>>,
    failure: Option<(usize, PoolError)>,
    /// Gone once it is used. Its place in the pool is free again with the last of the job.
    reply: Option<(Reply, OwnedSemaphorePermit)>,
}

impl Job {
    pub fn new(texts: Vec<Arc<str>>, reply: Reply, permit: OwnedSemaphorePermit) -> Self {
        let vectors = vec![Vec::new(); texts.len()];
        let progress = Progress { next: 0, running: 0, vectors, failure: None, reply: Some((reply, permit)) };
        Self { texts, progress: Mutex::new(progress) }
    }

    pub fn texts(&self, slice: Range<usize>) -> &[Arc<str>] {
        &self.texts[slice]
    }

    /// The next slice, and whether there is more after it. `None` if the request has failed or nobody waits for it.
    fn take_slice(&self, workers: usize) -> Option<(Range<usize>, bool)> {
        let mut progress = lock(&self.progress);
        let wanted = progress.reply.as_ref().is_some_and(|(reply, _)| !reply.is_closed());
        if progress.failure.is_some() || !wanted {
            return None;
        }
        let start = progress.next;
        let total: usize = self.texts.iter().map(|text| text.len()).sum();
        // A request that is small for one slice is still shared out, for the sake of its latency.
        let wanted = SLICE_BYTES.min(total.div_ceil(workers)).max(1);
        let mut bytes = 0;
        let full = self.texts[start..].iter().position(|text| {
            bytes += text.len();
            bytes >= wanted
        });
        let end = full.map_or(self.texts.len(), |last| start + last + 1);
        progress.next = end;
        progress.running += 1;
        Some((start..end, end < self.texts.len()))
    }

    /// Books the outcome of a slice, and replies if it was the last that the request waits for.
    ///
    /// Slices are handed out in order and a failure waits for those that run, so the lowest refused text is reported.
    pub fn finish(&self, slice: Range<usize>, outcome: Result<Vec<Vec<f32>>, PoolError>) {
        let mut progress = lock(&self.progress);
        progress.running -= 1;
        match outcome {
            Ok(vectors) => {
                for (place, vector) in progress.vectors[slice].iter_mut().zip(vectors) {
                    *place = vector;
                }
            }
            Err(error) if progress.failure.as_ref().is_none_or(|(start, _)| slice.start < *start) => {
                progress.failure = Some((slice.start, error));
            }
            Err(_) => {}
        }
        let done = progress.failure.is_some() || progress.next == self.texts.len();
        if done && progress.running == 0 {
            let answer = match progress.failure.take() {
                Some((_, error)) => Err(error),
                None => Ok(std::mem::take(&mut progress.vectors)),
            };
            if let Some((reply, _permit)) = progress.reply.take() {
                // The caller may have gone meanwhile.
                let _ = reply.send(answer);
            }
        }
    }
}

/// A lock that outlives a panic of another holder: every state between two statements is a valid one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
