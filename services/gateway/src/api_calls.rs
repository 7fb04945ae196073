//! One row for every call of the API, for the table `api_requests`: gathered in memory, written down every `interval`, and told to admin,
//! at once or when it is back. No call waits for it.
//!
//! Not the books: what a call cost is what the router said while it was answered; the ledger has the truth.

mod buffer;
mod call;
mod journal;
mod metrics;
mod settings;
mod ship;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_lifecycle::Tasks;
use embermesh_telemetry::Metrics;
use embermesh_transport::Transport;
use http::Method;

pub(crate) use self::call::{Call, Endpoint, is_of, routed, with_call_of, within};
pub use self::settings::ApiRequests;
use self::{buffer::Buffer, journal::Journal, metrics::CallMetrics};

/// Below this, writing down would be the work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Where calls are recorded. Cheap to clone; all clones record into the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiCalls(Option<Arc<Log>>);

/// What is recorded and not told yet.
#[derive(Debug)]
struct Log {
    buffer: Buffer,
    journal: Journal,
    metrics: CallMetrics,
}

impl ApiCalls {
    /// Records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Records as `settings` say, with a journal under `data_dir` if there is one, and tells admin in tasks of their own.
    pub fn start(
        settings: &ApiRequests,
        data_dir: Option<&Path>,
        admin: Transport,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Result<Self, prometheus::Error> {
        if !settings.enabled {
            return Ok(Self::off());
        }
        let log = Arc::new(Log {
            buffer: Buffer::new(settings.share),
            journal: Journal::open(data_dir, settings.spool_mib.saturating_mul(1 << 20), settings.share),
            metrics: CallMetrics::new(metrics)?,
        });
        let interval = settings.interval.0.max(SHORTEST_INTERVAL);
        tasks.spawn("api calls", ship::run(Arc::clone(&log), admin, interval, tasks.clone()));
        Ok(Self(Some(log)))
    }

    /// A call that has arrived. It is recorded when nobody holds it any more, if a valid key was shown.
    pub fn begin(&self, at: SystemTime, method: &Method, endpoint: &Endpoint) -> Arc<Call> {
        Arc::new(Call::begin(self.0.clone(), at, method, endpoint))
    }
}

impl Log {
    /// Moves what is in memory into the journal.
    fn gather(&self) {
        for rows in self.buffer.take() {
            self.write(rows);
        }
    }

    fn write(&self, rows: Vec<call::Row>) {
        let count = rows.len() as u64;
        if !self.journal.append(rows) {
            self.metrics.dropped.inc_by(count);
        }
        self.metrics.waiting.set(i64::try_from(self.journal.bytes()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
