//! Anchors the chains of all tenants while the process runs, and knows what was anchored from outside the database: a file, and what
//! this process remembers.
//!
//! Every replica anchors by itself, so that what each of them knows is whole.

mod key_file;
mod outside;

use std::{
    collections::HashMap,
    io, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_telemetry::Metrics;
use embermesh_types::{Clock, TenantId};
use prometheus::IntCounter;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};

use self::outside::AnchorsFile;
use crate::{
    Settings,
    domain::{
        anchor::{Anchor, PublicKey, Seal, SealError},
        audit_record::{hex, micros, unhex},
    },
    feed::{Batch, Feed},
    store::{Store, anchors::End},
};

/// Contradicted anchors that are remembered; the file has them all.
const MOST_REMEMBERED: usize = 1_000;

/// What was anchored, and what anchors.
#[derive(Debug)]
pub(crate) struct Anchoring {
    seal: Option<Seal>,
    trusted: Vec<PublicKey>,
    file: Option<AnchorsFile>,
    known: Mutex<Known>,
    /// One at a time: whoever asks for several waits.
    pub(crate) verifying: tokio::sync::Semaphore,
    made: IntCounter,
    contradicted: IntCounter,
}

/// What this process has anchored.
#[derive(Debug, Default)]
struct Known {
    /// The last anchor of each chain.
    last: HashMap<TenantId, Anchor>,
    /// Those that a chain no longer agrees with.
    contradicted: Vec<Anchor>,
}

/// Why chains cannot be anchored as configured.
#[derive(Debug, thiserror::Error)]
pub enum AnchoringError {
    /// The key cannot be read or made.
    #[error("the audit key {path} {cause}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file of anchors cannot be read or written.
    #[error("the file of audit anchors {path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// A public key is none.
    #[error("audit_trusted_keys[{0}]: expected 64 hexadecimal digits")]
    TrustedKey(usize),
    /// A metric is named badly.
    #[error("{0}")]
    Metrics(#[from] prometheus::Error),
}

impl Anchoring {
    /// Reads the key, or makes it in the data folder, and what was anchored before.
    pub(crate) fn open(settings: &Settings, metrics: &Metrics) -> Result<Self, AnchoringError> {
        let seal = key_file::seal(settings.audit_key_file.as_deref(), settings.data_dir.as_deref())?;
        let mut trusted = Vec::new();
        for (at, key) in settings.audit_trusted_keys.iter().enumerate() {
            trusted.push(unhex(key).ok_or(AnchoringError::TrustedKey(at))?);
        }
        trusted.extend(seal.as_ref().map(Seal::public_key));
        let file = settings.data_dir.as_ref().map(|dir| AnchorsFile::open(dir)).transpose()?;
        let last = file.as_ref().map(|file| file.last(&trusted)).transpose()?.unwrap_or_default();
        match &seal {
            Some(seal) => tracing::info!(public_key = hex(seal.public_key()), "anchoring the audit chains"),
            None => tracing::warn!(
                "the audit chains are not anchored, set admin.audit_key_file or data_dir: nothing will tell whether their ends were cut off"
            ),
        }
        Ok(Self {
            seal,
            trusted,
            file,
            known: Mutex::new(Known { last, contradicted: Vec::new() }),
            verifying: tokio::sync::Semaphore::new(1),
            made: metrics.register(IntCounter::new(
                "admin_audit_anchors_total",
                "Anchors of audit chains that this replica has signed.",
            )?),
            contradicted: metrics.register(IntCounter::new(
                "admin_audit_contradictions_total",
                "Audit chains that were found cut off or written anew below an anchor. Anything but 0 needs a person.",
            )?),
        })
    }

    /// Public keys whose anchors count.
    pub(crate) fn trusted(&self) -> &[PublicKey] {
        &self.trusted
    }

    /// What is known of a chain outside the database, in the order of the numbers, and the lines of the file that nobody can read.
    pub(crate) async fn outside(&self, tenant: TenantId) -> io::Result<(Vec<Anchor>, Vec<usize>)> {
        let (mut anchors, unreadable) = match self.file.clone() {
            None => (Vec::new(), Vec::new()),
            Some(file) => tokio::task::spawn_blocking(move || file.of_tenant(tenant))
                .await
                .map_err(io::Error::other)??,
        };
        {
            let known = self.known();
            let contradicted = known.contradicted.iter().filter(|anchor| anchor.tenant == tenant);
            anchors.extend(known.last.get(&tenant).into_iter().chain(contradicted).cloned());
        }
        anchors.sort_by_key(|anchor| anchor.number);
        anchors.dedup();
        Ok((anchors, unreadable))
    }

    /// Anchors every chain that has grown, at each interval and after so many changes, until the process stops.
    pub(crate) async fn run(
        self: Arc<Self>,
        settings: Settings,
        store: Store,
        feed: Arc<Feed>,
        clock: Clock,
        tasks: Tasks,
    ) {
        let Some(seal) = &self.seal else { return };
        let mut changes = feed.subscribe();
        let mut failing = false;
        loop {
            let stopping = tasks.is_stopping();
            match self.round(seal, &store, clock.now()).await {
                Ok(()) => failing = false,
                Err(error) if failing => tracing::debug!(%error, "still cannot anchor the audit chains"),
                Err(error) => {
                    tracing::warn!(%error, "cannot anchor the audit chains");
                    failing = true;
                }
            }
            // the last round came after the last change
            if stopping {
                return;
            }
            tokio::select! {
                () = sleep(settings.audit_anchor_interval.0) => {}
                () = many(&mut changes, settings.audit_anchor_changes), if !failing => {}
                () = tasks.stopping() => {}
            }
        }
    }

    async fn round(&self, seal: &Seal, store: &Store, now: SystemTime) -> Result<(), RoundError> {
        let mut made = Vec::new();
        let signed = self.sign_all(seal, store, now, &mut made).await;
        // also after a failure: what the database holds must be known outside
        if let Some(file) = self.file.clone().filter(|_| !made.is_empty()) {
            let lines = made.clone();
            tokio::task::spawn_blocking(move || file.append(&lines)).await.map_err(io::Error::other)??;
        }
        self.known().last.extend(made.into_iter().map(|anchor| (anchor.tenant, anchor)));
        signed
    }

    async fn sign_all(
        &self,
        seal: &Seal,
        store: &Store,
        now: SystemTime,
        made: &mut Vec<Anchor>,
    ) -> Result<(), RoundError> {
        let ends = store.audit_ends().await?;
        for End { tenant, number, hash } in &ends {
            let before = self.known().last.get(tenant).cloned();
            if let Some(before) = before {
                if (before.number, Some(before.hash)) == (*number, *hash) {
                    continue;
                }
                if store.audit_hash(*tenant, before.number).await? != Some(before.hash) {
                    self.contradict(before);
                }
            }
            // an end without a hash is for those who verify
            let Some(hash) = *hash else { continue };
            let anchor = seal.sign(*tenant, *number, hash, micros(now))?;
            if store.keep_anchor(&anchor).await? {
                self.made.inc();
                let (hash, signature) = (hex(&hash), hex(&anchor.signature));
                let (at, key) = (anchor.at_micros, hex(&anchor.public_key));
                tracing::info!(%tenant, number, hash, at_micros = at, key, signature, "anchored an audit chain");
            }
            made.push(anchor);
        }
        let all = mem::take(&mut self.known().last);
        let (kept, gone): (HashMap<_, _>, HashMap<_, _>) =
            all.into_iter().partition(|(tenant, _)| ends.iter().any(|end| end.tenant == *tenant));
        self.known().last = kept;
        gone.into_values().for_each(|anchor| self.contradict(anchor));
        Ok(())
    }

    fn contradict(&self, anchor: Anchor) {
        let Anchor { tenant, number, .. } = anchor;
        tracing::error!(%tenant, number, "an audit chain was cut off or written anew below an anchor");
        self.contradicted.inc();
        let mut known = self.known();
        if known.contradicted.len() < MOST_REMEMBERED {
            known.contradicted.push(anchor);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a round came to nothing, or to less than it should.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("{0}")]
    Database(#[from] DbError),
    #[error("{0}")]
    Seal(#[from] SealError),
    #[error("the file of anchors: {0}")]
    File(#[from] io::Error),
}

/// Returns once the configuration has changed so often.
async fn many(changes: &mut Receiver<Arc<Batch>>, enough: u32) {
    let mut first = None;
    loop {
        match changes.recv().await {
            Ok(batch) => {
                let since = batch.version - *first.get_or_insert(batch.version - 1);
                if since >= i64::from(enough) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => return,
            // the feed is as old as the process
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
