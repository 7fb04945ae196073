//! From memory into the journal once in an interval, and from there to admin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    RecordApiCallsRequest, api_calls_client::ApiCallsClient, api_calls_server::ApiCalls,
};
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use futures::future::join;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::Log;

/// For one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After a batch that admin did not take; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// At the end: how long after the last call another may come.
const DRAIN: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(20);
/// How long a stopping process tries to tell what is left; the next one tells what is on disk.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs until the process stops, then until the last call is told.
pub(super) async fn run(log: Arc<Log>, admin: Transport, interval: Duration, tasks: Tasks) {
    let signal = Signal::default();
    join(gather(&log, interval, &tasks, &signal), deliver(&log, &admin, &signal)).await;
}

/// From the one loop to the other.
#[derive(Debug, Default)]
struct Signal {
    /// Something may have been written.
    written: Notify,
    /// Nothing will be any more.
    ended: AtomicBool,
}

async fn gather(log: &Log, interval: Duration, tasks: &Tasks, signal: &Signal) {
    while !tasks.is_stopping() {
        tokio::select! {
            () = tasks.stopping() => {}
            () = sleep(interval) => {}
        }
        log.gather();
        signal.written.notify_one();
    }
    let mut last = Instant::now();
    while last.elapsed() < DRAIN {
        sleep(LOOK).await;
        log.gather();
        if log.buffer.is_busy() {
            last = Instant::now();
        }
    }
    log.gather();
    signal.ended.store(true, Ordering::Release);
    signal.written.notify_one();
}

async fn deliver(log: &Log, admin: &Transport, signal: &Signal) {
    let mut pause = PAUSE;
    while !signal.ended.load(Ordering::Acquire) {
        if tell_all(log, admin).await {
            pause = PAUSE;
            signal.written.notified().await;
        } else {
            let _ended = timeout(pause, until_ended(signal)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    let all = timeout(LAST_WORDS, tell_all(log, admin)).await;
    let left = log.journal.bytes();
    if left > 0 {
        tracing::info!(bytes = left, timely = all.is_ok(), "admin does not have all calls of the API");
    }
}

async fn until_ended(signal: &Signal) {
    while !signal.ended.load(Ordering::Acquire) {
        signal.written.notified().await;
    }
}

/// Tells admin what is in the journal. `false`: it did not take something.
async fn tell_all(log: &Log, admin: &Transport) -> bool {
    while let Some(batch) = log.journal.first() {
        let count = batch.calls.len() as u64;
        match tell(admin, batch).await {
            Ok(()) => log.metrics.told.inc_by(count),
            Err(error) if error.code == Code::Invalid => {
                tracing::error!(%error, calls = count, "admin refuses calls of the API, they are not recorded");
                log.metrics.dropped.inc_by(count);
            }
            Err(error) => {
                tracing::debug!(%error, "admin did not take calls of the API");
                return false;
            }
        }
        log.journal.done();
        log.metrics.waiting.set(i64::try_from(log.journal.bytes()).unwrap_or(i64::MAX));
    }
    true
}

async fn tell(admin: &Transport, batch: RecordApiCallsRequest) -> Result<(), Error> {
    let told = match admin.direct::<dyn ApiCalls>() {
        Some(direct) => {
            direct.tell("Record", TIMEOUT, batch, |admin, request| admin.record(request)).await.map(drop)
        }
        None => {
            let mut request = tonic::Request::new(batch);
            request.set_timeout(TIMEOUT);
            let client = ApiCallsClient::new(admin.clone());
            client.max_encoding_message_size(MAX_MESSAGE_BYTES).record(request).await.map(drop)
        }
    };
    told.map_err(Error::from)
}
