//! Reservations that wait for leases to be called back: in which accounts, and what wakes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_escrow::Account;
use embermesh_types::TenantId;
use tokio::sync::Notify;

/// What waits in this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    accounts: Mutex<BTreeMap<(TenantId, Account), usize>>,
    /// Money became free.
    freed: Notify,
    /// Leases were called back.
    called: Notify,
}

/// Accounts that somebody waits in, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Waiting,
    tenant: TenantId,
    accounts: Vec<Account>,
}

impl Waiting {
    /// The accounts that are waited in: nothing may be leased from them.
    pub(crate) fn accounts(&self, tenant: TenantId) -> Vec<Account> {
        let waiting = self.locked();
        waiting.keys().filter(|(of, _)| *of == tenant).map(|(_, account)| account.clone()).collect()
    }

    /// Waits in accounts from now on.
    pub(crate) fn enter(&self, tenant: TenantId, accounts: Vec<Account>) -> Place {
        let mut waiting = self.locked();
        for account in &accounts {
            *waiting.entry((tenant, account.clone())).or_default() += 1;
        }
        drop(waiting);
        Place { waiting: self.clone(), tenant, accounts }
    }

    /// Something was given back: whoever waits looks again.
    pub(crate) fn freed(&self) {
        self.0.freed.notify_waiters();
    }

    /// Ends at the next [`Self::freed`] after the first poll.
    pub(crate) fn until_freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }

    /// Leases were called back: whoever holds a call of their routers looks again.
    pub(crate) fn called(&self) {
        self.0.called.notify_waiters();
    }

    /// Ends at the next [`Self::called`] after the first poll.
    pub(crate) fn until_called(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.called.notified()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<(TenantId, Account), usize>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.locked();
        for account in self.accounts.drain(..) {
            let key = (self.tenant, account);
            if let Some(count) = waiting.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(&key);
                }
            }
        }
    }
}
