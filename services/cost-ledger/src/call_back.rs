//! Money that lies in leases while a call needs it: the leases are called back, and the call waits for them a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_errors::Error;
use embermesh_escrow::Account;
use embermesh_postgres::DbError;
use embermesh_types::TenantId;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    domain::{
        ids::{LeaseId, SessionId},
        work::{Answer, Operation, Outcome, Work},
    },
    store::{CalledBack, Store, failed},
    waiting::Waiting,
    writer::Writer,
};

/// What is left of a call's time when its wait ends.
const SPARE: Duration = Duration::from_millis(100);
/// Other replicas tell nobody here what was given back to them: so one looks.
const LOOK: Duration = Duration::from_millis(100);
/// A thousand calls that wait for the same money call it back once in so long.
const AGAIN: Duration = Duration::from_millis(50);
/// The same for leases that other replicas call back.
const POLL: Duration = Duration::from_millis(500);
/// How long a router's call is held.
const HELD: Duration = Duration::from_secs(5);

/// When the leases of a tenant's accounts were last called back.
type LastCalls = HashMap<(TenantId, Vec<Account>), Instant>;

/// Calls leases back. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CallBack {
    store: Store,
    writer: Writer,
    waiting: Waiting,
    /// How long a call waits for money before it is refused.
    patience: Duration,
    /// When each lease was last named to its router.
    told: Arc<Mutex<HashMap<LeaseId, Instant>>>,
    /// When the leases of accounts were last called back.
    called: Arc<AsyncMutex<LastCalls>>,
}

impl CallBack {
    pub(crate) fn new(store: Store, writer: Writer, waiting: Waiting, patience: Duration) -> Self {
        Self { store, writer, waiting, patience, told: Arc::default(), called: Arc::default() }
    }

    /// Does what sets something aside for a call; `left` is the caller's time.
    pub(crate) async fn set_aside(
        &self,
        tenant: TenantId,
        mut operation: Operation,
        left: Option<Duration>,
    ) -> Outcome {
        let until =
            Instant::now() + left.map_or(self.patience, |left| left.saturating_sub(SPARE).min(self.patience));
        let mut place = None;
        loop {
            operation.let_wait(Instant::now() < until);
            let freed = self.waiting.until_freed();
            tokio::pin!(freed);
            // from here on nothing that is freed is missed
            freed.as_mut().enable();
            let work = Work { tenant, operation: operation.clone() };
            let accounts = match self.writer.submit(work).await {
                Ok(Answer::Waits(accounts)) => accounts,
                outcome => return outcome,
            };
            self.call_back(tenant, &accounts).await?;
            place.get_or_insert_with(|| self.waiting.enter(tenant, accounts));
            let look = (Instant::now() + LOOK).min(until);
            tokio::select! {
                () = freed => {}
                () = sleep_until(look) => {}
            }
        }
    }

    /// Calls back what lies in leases of the accounts, one after another, so that those who wait leave the database to those who pay.
    async fn call_back(&self, tenant: TenantId, accounts: &[Account]) -> Result<(), Error> {
        let mut called = self.called.lock().await;
        called.retain(|_, at| at.elapsed() < AGAIN);
        let key = (tenant, accounts.to_vec());
        if called.contains_key(&key) {
            return Ok(());
        }
        match self.store.call_back(tenant, accounts).await {
            // somebody was at the same leases; they are called back by the next look
            Ok(()) | Err(DbError::Conflict(_)) => {}
            Err(error) => return Err(failed(&error)),
        }
        called.insert(key, Instant::now());
        self.waiting.called();
        Ok(())
    }

    /// The session's leases that are called back: at once, when there are some that it was not told of just now, or in a while.
    pub(crate) async fn called_back(&self, session: SessionId) -> Result<Vec<CalledBack>, Error> {
        let until = Instant::now() + HELD;
        loop {
            let called = self.waiting.until_called();
            tokio::pin!(called);
            called.as_mut().enable();
            let all = self.store.called_back(session).await.map_err(|error| failed(&error))?;
            let news = self.note(&all);
            if news || Instant::now() >= until {
                return Ok(all);
            }
            let look = async {
                tokio::select! {
                    () = called => {}
                    () = sleep(POLL) => {}
                }
            };
            let _held_long_enough = timeout_at(until, look).await;
        }
    }

    /// Returns whether any of them was not named in the last moment.
    fn note(&self, all: &[CalledBack]) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < POLL);
        let news = all.iter().any(|called| !told.contains_key(&called.lease));
        if news {
            told.extend(all.iter().map(|called| (called.lease, now)));
        }
        news
    }
}
