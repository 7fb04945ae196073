//! Backups by the clock, within `embermesh up`. Each is a process of its own, as if somebody had typed `embermesh backup`: it cannot hold
//! up the services, and what it takes of memory goes with it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use embermesh_backup::{Kind, Schedule};
use embermesh_config::Config;
use embermesh_lifecycle::Tasks;
use embermesh_process::BoxError;
use embermesh_types::Clock;
use jiff::Timestamp;
use tokio::{process::Command, time::sleep};

/// Twice a minute and a bit: no minute is missed.
const LOOK: Duration = Duration::from_secs(20);

/// What is due when.
pub(crate) struct Scheduled {
    plans: Vec<(Kind, Schedule)>,
    config: Option<PathBuf>,
    data_dir: PathBuf,
    postgres_dir: Option<PathBuf>,
}

impl Scheduled {
    /// What the configuration asks for.
    pub(crate) fn new(
        config: &Config,
        file: Option<PathBuf>,
        data_dir: PathBuf,
        postgres_dir: Option<PathBuf>,
    ) -> Result<Self, BoxError> {
        let mut plans = Vec::new();
        if let Some(target) = &config.backup.postgres {
            let kind = if target.method == "pg_basebackup" { Kind::Base } else { Kind::Logical };
            plans.push((kind, schedule("backup.postgres.schedule", &target.schedule)?));
        }
        let has_redis = config.redis.url.is_some() || !config.redis.cluster_endpoints.is_empty();
        if let Some(target) = config.backup.redis.as_ref() {
            let due = schedule("backup.redis.schedule", &target.schedule)?;
            if has_redis {
                plans.push((Kind::Redis, due));
            }
        }
        Ok(Self { plans, config: file, data_dir, postgres_dir })
    }

    /// Makes what is due until the process stops.
    pub(crate) async fn run(self, clock: Clock, tasks: Tasks) {
        if self.plans.is_empty() {
            return;
        }
        let mut last = minute(&clock);
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = tasks.stopping() => return,
            }
            let now = minute(&clock);
            if now == last {
                continue;
            }
            last = now;
            for (kind, schedule) in &self.plans {
                let Ok(time) = Timestamp::from_second(now * 60) else { continue };
                if schedule.is_due(time) {
                    tokio::select! {
                        () = self.make(*kind) => {}
                        () = tasks.stopping() => return,
                    }
                }
            }
        }
    }

    async fn make(&self, kind: Kind) {
        tracing::info!(%kind, "a backup is due");
        match self.command(kind) {
            Ok(mut command) => match command.output().await {
                Ok(output) if output.status.success() => tracing::info!(%kind, "the backup is made"),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    tracing::error!(%kind, error = said.trim(), "the backup failed");
                }
                Err(error) => tracing::error!(%kind, %error, "the backup failed"),
            },
            Err(error) => tracing::error!(%kind, %error, "the backup failed"),
        }
    }

    fn command(&self, kind: Kind) -> Result<Command, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["backup", "--kind", kind.as_str(), "--data-dir"]).arg(&self.data_dir);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(dir) = &self.postgres_dir {
            command.arg("--postgres-dir").arg(dir);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

fn minute(clock: &Clock) -> i64 {
    Timestamp::try_from(clock.now()).map_or(0, |now| now.as_second().div_euclid(60))
}

fn schedule(key: &str, text: &str) -> Result<Schedule, BoxError> {
    text.parse().map_err(|error| format!("configuration: {key}: {error}").into())
}
