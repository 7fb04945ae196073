//! Attempts that nobody settled: their router is gone, the provider may have answered. They count as answered, at the bound.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use futures::{StreamExt, future::ready, stream};
use tokio::time::sleep;

use crate::{
    domain::{
        attempt::State,
        work::{Operation, Settlement, Work},
    },
    service::Shared,
    store::{Overdue, failed},
    writer::Writer,
};

const EVERY: Duration = Duration::from_secs(30);
/// Handed in together, so that the writer commits them together.
const AT_ONCE: usize = 64;

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

/// Presumes every overdue attempt; returns how many. What cannot be settled is logged, passed over, and tried again by the next
/// sweep: each attempt is tried once, so one that is broken holds up no other.
pub(crate) async fn sweep(shared: &Shared) -> Result<usize, Error> {
    let age = Duration::from_secs(shared.settings.presume_after_seconds);
    let before = shared.clock.now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let (mut swept, mut last) = (0, None);
    loop {
        let page = shared.store.overdue(before, last).await.map_err(|error| failed(&error))?;
        let Some(end) = page.last() else { return Ok(swept) };
        last = Some(end.place());
        let presumed = stream::iter(page).map(|overdue| presume(&shared.writer, overdue));
        swept += presumed.buffer_unordered(AT_ONCE).filter(|presumed| ready(*presumed)).count().await;
    }
}

/// Charges an attempt at its bound; returns whether it could.
async fn presume(writer: &Writer, overdue: Overdue) -> bool {
    let Overdue { tenant, attempt, created_at, charge } = overdue;
    let settlement = Settlement {
        attempt: attempt.id,
        created_at,
        outcome: State::Presumed,
        amount: attempt.reserved,
        tokens: charge.tokens,
        charges: vec![charge],
        swept: true,
    };
    let outcome = writer.submit(Work { tenant, operation: Operation::Settle(settlement) }).await;
    let amount = attempt.reserved.0;
    match &outcome {
        Ok(()) => tracing::warn!(%tenant, attempt = %attempt.id, amount, "presumed an overdue attempt"),
        Err(error) => {
            tracing::error!(%tenant, attempt = %attempt.id, amount, %error, "cannot presume an overdue attempt");
        }
    }
    outcome.is_ok()
}
