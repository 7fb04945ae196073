//! What is known of admin itself: when it was last heard, and whether what is known came from it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_telemetry::Metrics;
use prometheus::{Gauge, IntGauge, Opts};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::Subscription;

/// Admin speaks twice a second; what was not heard of for so long may be out of date.
const LIVE_WITHIN: Duration = Duration::from_secs(5);

/// Shared by the stream and by the question for the epoch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Contact(Arc<State>);

struct State {
    started: Instant,
    heard: Mutex<Option<Instant>>,
    from_admin: AtomicBool,
    /// A channel and no notification: whoever is just reading a message must not miss it.
    doubts: watch::Sender<()>,
    version: Option<IntGauge>,
    silence: Option<Gauge>,
}

impl Contact {
    /// Nothing was heard yet.
    pub(crate) fn new(subscriber: &str, metrics: &Metrics) -> Self {
        let named = |name: &str, help: &str| Opts::new(name, help).const_label("subscriber", subscriber);
        let version = IntGauge::with_opts(named(
            "config_version",
            "Version of the configuration that is in force here.",
        ));
        let silence = Gauge::with_opts(named(
            "config_admin_silence_seconds",
            "Time since admin was last heard, or since the start if it never was.",
        ));
        Self(Arc::new(State {
            started: Instant::now(),
            heard: Mutex::default(),
            from_admin: AtomicBool::new(false),
            doubts: watch::Sender::new(()),
            // both names are constants: they are wrong for everybody or for nobody
            version: version.ok().map(|gauge| metrics.register(gauge)),
            silence: silence.ok().map(|gauge| metrics.register(gauge)),
        }))
    }

    /// Admin has answered.
    pub(crate) fn heard(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What is in force came from admin just now.
    pub(crate) fn applied(&self, version: i64) {
        self.0.from_admin.store(true, Ordering::Release);
        self.show(version);
    }

    /// Cuts the stream that is open, and the wait before the next one; not one that is about to bring its snapshot.
    pub(crate) fn reopen(&self) {
        self.0.doubts.send_replace(());
    }

    /// Changes whenever what is known here turns out to be out of date.
    pub(crate) fn doubts(&self) -> watch::Receiver<()> {
        self.0.doubts.subscribe()
    }

    /// Brings the metrics up to date.
    pub(crate) fn show(&self, version: i64) {
        if let Some(gauge) = &self.0.version {
            gauge.set(version);
        }
        if let Some(gauge) = &self.0.silence {
            let since = self.silence().unwrap_or_else(|| self.0.started.elapsed());
            gauge.set(since.as_secs_f64());
        }
    }

    /// What `/health/ready` says of the configuration: its `version`, its `source` (`admin`, `disk`, or `none` while there is none),
    /// whether it is `live`, and for how long admin has been silent, `null` if it was never heard.
    pub(crate) fn report(&self, subscription: &Subscription) -> Value {
        let known = subscription.known();
        let source = match &known {
            None => "none",
            Some(_) if self.0.from_admin.load(Ordering::Acquire) => "admin",
            Some(_) => "disk",
        };
        let silence = self.silence();
        json!({
            "version": known.map_or(0, |snapshot| snapshot.version),
            "source": source,
            "live": source == "admin" && silence.is_some_and(|silence| silence <= LIVE_WITHIN),
            "admin_silent_seconds": silence.map(|silence| silence.as_millis() as f64 / 1000.0),
        })
    }

    fn silence(&self) -> Option<Duration> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}
