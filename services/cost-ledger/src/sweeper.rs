//! Routers that are gone, and attempts that nobody settled: the provider may have answered, so they count as answered, at the bound.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use futures::{StreamExt, future::ready, stream};
use tokio::time::sleep;

use crate::{
    domain::work::{Operation, Work},
    service::Shared,
    sessions::LOST_AFTER,
    store::{Overdue, Patience, failed},
    writer::Writer,
};

const EVERY: Duration = Duration::from_secs(5);
/// Handed in together, so that the writer commits them together.
const AT_ONCE: usize = 64;
/// How many times longer an attempt may be open whose router is alive: it has written down how it ended, and will say so.
const ATTENDED: u32 = 6;

/// Sweeps until the process stops.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    // Since when routers could be heard here. While the database or this process is away nobody is, and that is not their silence.
    let mut listening_since = shared.clock.now();
    let mut last = listening_since;
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        let now = shared.clock.now();
        if now.duration_since(last).unwrap_or_default() > EVERY * 3 {
            listening_since = now;
        }
        last = now;
        let lost = now.checked_sub(LOST_AFTER).filter(|before| listening_since <= *before);
        if let Err(error) = sweep(&shared, lost).await {
            tracing::warn!(%error, "cannot sweep overdue attempts");
            listening_since = shared.clock.now();
        }
    }
}

/// Gives up the routers that were last heard of before `lost`, and presumes every overdue attempt; returns how many. What cannot be
/// settled is logged, passed over, and tried again by the next sweep: each attempt is tried once, so one that is broken holds up no
/// other.
pub(crate) async fn sweep(shared: &Shared, lost: Option<SystemTime>) -> Result<usize, Error> {
    if let Some(before) = lost {
        shared.sessions.lose(before).await?;
    }
    shared.sessions.settle_all().await?;
    if shared.recovery.look().await? {
        // what routers have on disk tells how attempts ended; whatever is open when all of it is told is presumed
        return Ok(0);
    }
    let now = shared.clock.now();
    let before = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let age = Duration::from_secs(shared.settings.presume_after_seconds);
    let patience = Patience { alone: before(age), attended: before(age.saturating_mul(ATTENDED)) };
    let (mut swept, mut last) = (0, None);
    loop {
        let page = shared.store.overdue(patience, last).await.map_err(|error| failed(&error))?;
        let Some(end) = page.last() else { break };
        last = Some(end.place());
        let presumed = stream::iter(page).map(|overdue| presume(&shared.writer, overdue));
        swept += presumed.buffer_unordered(AT_ONCE).filter(|presumed| ready(*presumed)).count().await;
    }
    if swept > 0 {
        shared.waiting.freed();
    }
    Ok(swept)
}

/// Charges each part of an attempt at its bound, if it is still open; returns whether it could.
async fn presume(writer: &Writer, overdue: Overdue) -> bool {
    let Overdue { tenant, attempt, reserved, .. } = overdue;
    let outcome = writer.submit(Work { tenant, operation: Operation::Presume(attempt) }).await;
    let (attempt, amount) = (attempt.attempt, reserved.0);
    match &outcome {
        Ok(_) => tracing::warn!(%tenant, %attempt, amount, "presumed an overdue attempt"),
        Err(error) => {
            tracing::error!(%tenant, %attempt, amount, %error, "cannot presume an overdue attempt");
        }
    }
    outcome.is_ok()
}
