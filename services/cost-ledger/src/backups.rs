//! When backups and drills last came to a good end, as metrics: what makes them runs for a moment and cannot be asked.

use std::time::{Duration, SystemTime};

use embermesh_config::Config;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_process::BoxError;
use embermesh_telemetry::Metrics;
use embermesh_types::Clock;
use prometheus::{Gauge, GaugeVec, IntGauge, Opts};
use tokio::time::sleep;

use crate::{
    recovery,
    store::{BackupRun, Store},
};

const EVERY: Duration = Duration::from_secs(15);

/// Remembers a backup or a drill that came to a good end, in the books that the configuration names.
///
/// # Errors
/// When the database cannot be reached.
pub async fn record(config: &Config, run: &BackupRun) -> Result<(), BoxError> {
    Ok(recovery::store(config).await?.record_backup(run).await?)
}

/// Handles of the metrics.
#[derive(Debug)]
pub(crate) struct BackupMetrics {
    succeeded: GaugeVec,
    age: GaugeVec,
    bytes: GaugeVec,
    rpo: Gauge,
    rto: Gauge,
    archived: Gauge,
    archive_failures: IntGauge,
}

impl BackupMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let named = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["kind"]);
        let succeeded = named(
            "backup_last_success_timestamp_seconds",
            "When the last backup of a kind, or the last restore drill, came to a good end.",
        )?;
        let age = named("backup_age_seconds", "How long ago that was.")?;
        let bytes = named("backup_bytes", "How large the last backup of a kind is.")?;
        let gauge = |name: &str, help: &str| Gauge::new(name, help);
        Ok(Self {
            succeeded: metrics.register(succeeded),
            age: metrics.register(age),
            bytes: metrics.register(bytes),
            rpo: metrics.register(gauge(
                "restore_drill_rpo_seconds",
                "How old the last commit was that the last restore drill brought back.",
            )?),
            rto: metrics.register(gauge(
                "restore_drill_rto_seconds",
                "How long the last restore drill took until the database answered.",
            )?),
            archived: metrics.register(gauge(
                "wal_archive_last_success_timestamp_seconds",
                "When PostgreSQL last archived a segment of its log; 0 where it archives none.",
            )?),
            archive_failures: metrics.register(IntGauge::new(
                "wal_archive_failures",
                "Failures to archive a segment since PostgreSQL's statistics were reset.",
            )?),
        })
    }

    /// Looks for as long as the process runs.
    pub(crate) async fn run(self, store: Store, clock: Clock, tasks: Tasks) {
        loop {
            if let Err(error) = self.look(&store, clock.now()).await {
                tracing::debug!(%error, "cannot see when backups were made");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn look(&self, store: &Store, now: SystemTime) -> Result<(), DbError> {
        for run in store.backup_runs().await? {
            let kind = [run.kind.as_str()];
            self.succeeded.with_label_values(&kind).set(seconds(run.succeeded_at));
            let age = now.duration_since(run.succeeded_at).unwrap_or_default();
            self.age.with_label_values(&kind).set(age.as_secs_f64());
            if run.kind == "drill" {
                self.rpo.set(run.rpo_seconds.unwrap_or_default());
                self.rto.set(run.rto_seconds.unwrap_or_default());
            } else {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                self.bytes.with_label_values(&kind).set(run.bytes as f64);
            }
        }
        if let Some(archiving) = store.archiving().await? {
            self.archived.set(archiving.last.map_or(0.0, seconds));
            self.archive_failures.set(archiving.failures);
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
