//! The pool without the model: workers that echo, wait for the test, fail or panic on command.

use std::{
    sync::{Barrier, Mutex, mpsc},
    task::{Context, Waker},
};

use super::*;

/// A text's vector is its length.
fn echo(texts: &[Arc<str>]) -> Result<Vec<Vec<f32>>, EmbedError> {
    Ok(texts.iter().map(|text| vec![text.len() as f32]).collect())
}

fn pool(
    threads: usize,
    embed: impl Fn(&[Arc<str>]) -> Result<Vec<Vec<f32>>, EmbedError> + Send + Sync + 'static,
) -> Pool {
    let embed = Arc::new(embed);
    let make = move || -> Embedder {
        let embed = Arc::clone(&embed);
        Box::new(move |texts| embed(texts))
    };
    Pool::start_with(Arc::new(make), threads).unwrap()
}

/// One worker, whose first slice reports that it has begun and then waits to be let go.
struct Gated {
    pool: Pool,
    begun: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
    /// The length of the first text of each slice.
    seen: Arc<Mutex<Vec<usize>>>,
}

fn gated_pool() -> Gated {
    let (report, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (seen, gate) = (Arc::new(Mutex::new(Vec::new())), Mutex::new(gate));
    let record = Arc::clone(&seen);
    let pool = pool(1, move |texts| {
        let first = {
            let mut seen = record.lock().unwrap();
            seen.push(texts[0].len());
            seen.len() == 1
        };
        if first {
            report.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        echo(texts)
    });
    Gated { pool, begun, go, seen }
}

fn texts(lengths: impl IntoIterator<Item = usize>) -> Vec<Arc<str>> {
    lengths.into_iter().map(|length| "x".repeat(length).into()).collect()
}

fn too_long(index: usize) -> EmbedError {
    EmbedError::TooLong { index, tokens: 300, limit: 256 }
}

#[tokio::test]
async fn vectors_come_back_in_the_order_of_the_texts() {
    let pool = pool(3, echo);
    let lengths = (0..500).map(|i| 1 + i * 37 % 900);
    let vectors = pool.embed(texts(lengths.clone())).await.unwrap();
    assert_eq!(vectors, lengths.map(|length| vec![length as f32]).collect::<Vec<_>>());
    assert_eq!(pool.embed(Vec::new()).await.unwrap(), Vec::<Vec<f32>>::new());
}

#[tokio::test]
async fn empty_texts_are_texts() {
    assert_eq!(pool(2, echo).embed(texts([0, 0, 0])).await.unwrap(), vec![vec![0.0]; 3]);
}

#[tokio::test]
async fn a_small_request_is_shared_by_all_workers() {
    // Nobody passes the barrier before both workers have a slice: this ends only if they have.
    let both = Barrier::new(2);
    let pool = pool(2, move |texts| {
        both.wait();
        echo(texts)
    });
    assert_eq!(pool.embed(texts([300; 4])).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_small_request_does_not_wait_for_a_large_one() {
    let Gated { pool, begun, go, seen } = gated_pool();
    let mut large = std::pin::pin!(pool.embed(texts([1_000; 100])));
    assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    begun.recv().unwrap();
    let mut small = std::pin::pin!(pool.embed(texts([10])));
    assert!(small.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    go.send(()).unwrap();
    assert_eq!((small.await.unwrap().len(), large.await.unwrap().len()), (1, 100));
    let slices_before = seen.lock().unwrap().iter().position(|length| *length == 10);
    // The slice that ran, and the next one, which was already in the queue.
    assert!(slices_before <= Some(2), "{slices_before:?} slices came first");
}

#[tokio::test]
async fn the_lowest_refused_text_is_reported_with_its_place_in_the_request() {
    let pool = pool(4, |texts| match texts.iter().position(|text| text.len() == 7) {
        Some(index) => Err(too_long(index)),
        None => echo(texts),
    });
    let mut lengths = [1_500; 200];
    (lengths[23], lengths[24], lengths[180]) = (7, 7, 7);
    for _ in 0..50 {
        assert_eq!(pool.embed(texts(lengths)).await, Err(PoolError::Embed(too_long(23))));
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_worker_goes_on() {
    let pool = pool(1, |texts| if texts[0].len() == 13 { panic!("unlucky") } else { echo(texts) });
    for _ in 0..3 {
        assert_eq!(pool.embed(texts([13])).await, Err(PoolError::Panicked));
        assert_eq!(pool.embed(texts([12])).await.unwrap(), [[12.0]]);
    }
}

#[tokio::test]
async fn the_queued_work_of_a_dropped_caller_is_skipped() {
    let Gated { pool, begun, go, seen } = gated_pool();
    let mut blocker = std::pin::pin!(pool.embed(texts([1])));
    assert!(blocker.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    begun.recv().unwrap();
    {
        let dropped = std::pin::pin!(pool.embed(texts([2])));
        assert!(dropped.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    go.send(()).unwrap();
    blocker.await.unwrap();
    pool.embed(texts([3])).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn closing_finishes_what_runs_and_drops_what_waits() {
    let Gated { pool, begun, go, seen } = gated_pool();
    let (reply, running) = oneshot::channel();
    let (late_reply, waiting) = oneshot::channel();
    for (length, reply) in [(1, reply), (2, late_reply)] {
        let permit = Arc::clone(&pool.admission).try_acquire_owned().unwrap();
        pool.queue.push(Arc::new(Job::new(texts([length]), reply, permit)));
    }
    begun.recv().unwrap();
    pool.queue.close();
    assert!(waiting.await.is_err(), "the waiting request still has a reply");
    assert_eq!(pool.embed(texts([3])).await, Err(PoolError::Closed));
    go.send(()).unwrap();
    drop(pool);
    assert_eq!(running.await.unwrap().unwrap(), [[1.0]]);
    assert_eq!(*seen.lock().unwrap(), [1]);
}

#[tokio::test]
async fn more_requests_than_are_admitted_all_get_their_answers() {
    let pool = Arc::new(pool(2, echo));
    let mut requests = tokio::task::JoinSet::new();
    for length in 1..=3 * ADMITTED {
        let pool = Arc::clone(&pool);
        requests.spawn(async move { (length, pool.embed(texts([length])).await) });
    }
    while let Some(request) = requests.join_next().await {
        let (length, vectors) = request.unwrap();
        assert_eq!(vectors.unwrap(), [[length as f32]]);
    }
    assert_eq!(pool.admission.available_permits(), ADMITTED);
}
