//! Routers' processes: heard of, lost, found again, done. Their leases follow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use embermesh_errors::Error;
use embermesh_types::Clock;

use crate::{
    domain::{
        ids::SessionId,
        work::{Fate, Operation, Work},
    },
    store::{Store, Unsettled, failed},
    writer::Writer,
};

/// A lease's time, and how much longer a router may be silent before it counts as lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(30 + 10);
/// Sessions without leases are forgotten after so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// A session that was heard of is not written down again so soon.
const NOTED_FOR: Duration = Duration::from_secs(2);

/// Keeps the sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    store: Store,
    writer: Writer,
    clock: Clock,
    noted: Arc<Mutex<HashMap<SessionId, SystemTime>>>,
}

impl Sessions {
    pub(crate) fn new(store: Store, writer: Writer, clock: Clock) -> Self {
        Self { store, writer, clock, noted: Arc::default() }
    }

    /// A session shows that it is alive. Its leases are open again when this returns, if they were presumed.
    pub(crate) async fn heard(&self, session: SessionId) -> Result<(), Error> {
        let now = self.clock.now();
        if self.noted_lately(session, now) {
            return Ok(());
        }
        let was_gone = self.store.touch(session, now).await.map_err(|error| failed(&error))?;
        if was_gone {
            tracing::info!(%session, "a router is heard of again");
            let unsettled = self.store.unsettled(Some(session)).await.map_err(|error| failed(&error))?;
            self.settle(unsettled).await?;
        }
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, at| now.duration_since(*at).is_ok_and(|age| age < NOTED_FOR));
        noted.insert(session, now);
        Ok(())
    }

    /// A session says that it is done: its leases are closed, of every tenant.
    pub(crate) async fn closed(&self, session: SessionId) -> Result<(), Error> {
        let tenants = self.store.tenants_of(session).await.map_err(|error| failed(&error))?;
        for tenant in tenants {
            let operation = Operation::Session(session, Fate::Closed);
            self.writer.submit(Work { tenant, operation }).await?;
        }
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
        self.store.close_session(session, self.clock.now()).await.map_err(|error| failed(&error))
    }

    /// Gives up whoever was last heard of before `before`; returns how many.
    pub(crate) async fn lose(&self, before: SystemTime) -> Result<usize, Error> {
        let lost = self.store.lose_sessions(before).await.map_err(|error| failed(&error))?;
        for session in &lost {
            tracing::warn!(%session, "a router is silent, what its leases hold is presumed");
        }
        let forgotten = self.clock.now().checked_sub(FORGOTTEN_AFTER).unwrap_or(SystemTime::UNIX_EPOCH);
        self.store.forget_sessions(forgotten).await.map_err(|error| failed(&error))?;
        Ok(lost.len())
    }

    /// Makes every lease what its session is.
    pub(crate) async fn settle_all(&self) -> Result<(), Error> {
        let unsettled = self.store.unsettled(None).await.map_err(|error| failed(&error))?;
        self.settle(unsettled).await
    }

    async fn settle(&self, unsettled: Vec<Unsettled>) -> Result<(), Error> {
        for Unsettled { tenant, session, fate } in unsettled {
            self.writer.submit(Work { tenant, operation: Operation::Session(session, fate) }).await?;
        }
        Ok(())
    }

    fn noted_lately(&self, session: SessionId, now: SystemTime) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get(&session).is_some_and(|at| now.duration_since(*at).is_ok_and(|age| age < NOTED_FOR))
    }
}
