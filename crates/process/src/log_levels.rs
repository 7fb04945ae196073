//! The levels of the log, as operators turn them at run time.

use std::sync::Arc;

use embermesh_lifecycle::Tasks;
use embermesh_subscription::{RunSettings, Subscription};
use embermesh_telemetry::LogLevels;

/// Follows the settings until the process stops.
pub(crate) async fn follow(levels: LogLevels, subscription: Subscription, tasks: Tasks) {
    let mut changes = subscription.changes();
    let mut in_force: Option<Arc<RunSettings>> = None;
    loop {
        let wanted = subscription.current().settings().cloned();
        if wanted != in_force {
            turn(&levels, wanted.as_deref().unwrap_or(&RunSettings::default()));
            in_force = wanted;
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tasks.stopping() => return,
        }
    }
}

fn turn(levels: &LogLevels, settings: &RunSettings) {
    let RunSettings { log_level, log_components, .. } = settings;
    match levels.set(log_level.as_deref(), log_components) {
        Ok(()) => {
            tracing::info!(level = log_level, components = ?log_components, "log levels turned by an operator")
        }
        Err(error) => tracing::error!(%error, "the log levels stay as they are"),
    }
}
