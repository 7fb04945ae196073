//! Worker threads for the model, and the async door to them.
//!
//! One plain OS thread per core, because the work is arithmetic and nothing but: more threads only share caches, and the
//! async runtime's own threads must never be blocked by it. Requests are cut into slices of a few texts. The queue hands
//! out slices of the waiting requests in turn, so that one large request uses every core while a small one that comes
//! later waits for a slice, not for the whole.

mod queue;

use std::{
    fmt, io, iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{Semaphore, oneshot};

use crate::{EmbedError, MiniLm, PoolError, Workspace};
use queue::{Job, Queue};

/// Requests taken in at once; the next caller waits in [`Pool::embed`] until one is done.
const ADMITTED: usize = 256;

/// What a worker does with a slice of texts.
type Embedder = Box<dyn FnMut(&[Arc<str>]) -> Result<Vec<Vec<f32>>, EmbedError>>;
/// Makes the embedder of one worker, on its own thread: at the start, and anew after a panic.
type MakeEmbedder = dyn Fn() -> Embedder + Send + Sync;

/// The model on worker threads. Dropping it stops them after the slices they are at; queued requests get
/// [`PoolError::Closed`].
pub struct Pool {
    queue: Arc<Queue>,
    admission: Arc<Semaphore>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` workers, at least one, named `minilm-0` and so on. One per core is best.
    pub fn start(model: Arc<MiniLm>, threads: usize) -> io::Result<Self> {
        let make = move || -> Embedder {
            let model = Arc::clone(&model);
            let mut workspace = Workspace::new();
            Box::new(move |texts| model.embed_with(&mut workspace, texts))
        };
        Self::start_with(Arc::new(make), threads)
    }

    fn start_with(make: Arc<MakeEmbedder>, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let queue = Arc::new(Queue::new(threads));
        // Built first: if a thread cannot be had, dropping the pool ends those before it.
        let mut pool = Self {
            queue,
            admission: Arc::new(Semaphore::new(ADMITTED)),
            workers: Vec::with_capacity(threads),
        };
        for i in 0..threads {
            let (queue, make) = (Arc::clone(&pool.queue), Arc::clone(&make));
            let worker = thread::Builder::new().name(format!("minilm-{i}"));
            pool.workers.push(worker.spawn(move || work(&queue, &*make))?);
        }
        Ok(pool)
    }

    /// One vector per text, in order, as [`MiniLm::embed`]. Dropping the future gives up what is not begun.
    ///
    /// Waits while too many requests are in already; the deadline is the caller's.
    pub async fn embed(&self, texts: Vec<Arc<str>>) -> Result<Vec<Vec<f32>>, PoolError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let permit = Arc::clone(&self.admission).acquire_owned().await.map_err(|_| PoolError::Closed)?;
        let (reply, vectors) = oneshot::channel();
        self.queue.push(Arc::new(Job::new(texts, reply, permit)));
        vectors.await.unwrap_or(Err(PoolError::Closed))
    }
}

fn work(queue: &Queue, make: &MakeEmbedder) {
    let mut embed = make();
    for (job, slice) in iter::from_fn(|| queue.next_slice()) {
        let texts = job.texts(slice.clone());
        let outcome = match catch_unwind(AssertUnwindSafe(|| embed(texts))) {
            Ok(outcome) => outcome.map_err(|error| PoolError::Embed(error.moved_by(slice.start))),
            Err(_) => {
                // Its buffers may be half written.
                embed = make();
                Err(PoolError::Panicked)
            }
        };
        job.finish(slice, outcome);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work; there is nobody to tell about any other.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.workers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
