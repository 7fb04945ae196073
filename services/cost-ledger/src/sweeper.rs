//! Attempts that nobody settled: their router is gone, the provider may have answered. They count as answered, at the bound.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use tokio::time::sleep;

use crate::{
    domain::{
        attempt::State,
        work::{Operation, Settlement, Work},
    },
    service::Shared,
    store::failed,
};

const EVERY: Duration = Duration::from_secs(30);

/// Sweeps until the process stops.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        if let Err(error) = sweep(&shared).await {
            tracing::warn!(%error, "cannot sweep overdue attempts");
        }
    }
}

/// Presumes every overdue attempt; returns how many.
pub(crate) async fn sweep(shared: &Shared) -> Result<usize, Error> {
    let age = Duration::from_secs(shared.settings.presume_after_seconds);
    let before = shared.clock.now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut swept = 0;
    loop {
        let overdue = shared.store.overdue(before).await.map_err(|error| failed(&error))?;
        if overdue.is_empty() {
            return Ok(swept);
        }
        for (tenant, attempt, charge, created_at) in overdue {
            tracing::warn!(%tenant, attempt = %attempt.id, amount = attempt.reserved.0, "presumed an overdue attempt");
            let settlement = Settlement {
                attempt: attempt.id,
                created_at,
                outcome: State::Presumed,
                amount: attempt.reserved,
                tokens: charge.tokens,
                charges: vec![charge],
                swept: true,
            };
            shared.writer.submit(Work { tenant, operation: Operation::Settle(settlement) }).await?;
            swept += 1;
        }
    }
}
