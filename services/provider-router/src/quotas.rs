//! What tenants may ask for in a day and a month, by count. A call takes of it out of a lease, which asks nobody; where no lease has so
//! much, and without a journal, the ledger decides about the call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_escrow::{Amount, Quota, has_quota};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    Entry, PostRequest, QuotaLeaseRequest, QuotaUse, entry::Entry as Value, ledger_client::LedgerClient,
};
use embermesh_subscription::Subscription;
use embermesh_transport::{CallContext, Transport};
use embermesh_types::{Clock, TenantId, TokenCount};
use tokio::time::sleep;

use crate::{
    books::{late, with_end},
    ids::uuid_v7,
    leases::{Drawn, Leases},
    probe::for_itself,
};

/// Without a journal: tries to tell that a call took less; after them it stays at what it might have taken.
const TELL_TRIES: u32 = 6;
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Everybody's quotas. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: LedgerClient<Transport>,
    subscription: Subscription,
    clock: Clock,
    tasks: Tasks,
    /// Absent without a journal.
    leases: Option<Arc<Leases>>,
    /// A UUID.
    session: String,
}

/// What a call has taken of a quota. Unless it ends, all of it is used.
#[derive(Debug)]
pub(crate) struct Taken {
    amount: Amount,
    /// `None`: it has ended.
    from: Option<Source>,
}

#[derive(Debug)]
enum Source {
    Lease(Arc<Leases>, Drawn),
    Ledger { quotas: Arc<Inner>, tenant: TenantId, lease: String },
}

impl Quotas {
    pub fn new(
        ledger: LedgerClient<Transport>,
        subscription: Subscription,
        clock: Clock,
        tasks: Tasks,
        leases: Option<Arc<Leases>>,
    ) -> Self {
        let session = match &leases {
            Some(leases) => leases.journal.session().to_owned(),
            None => uuid_v7(clock.now()).to_string(),
        };
        Self(Arc::new(Inner { ledger, subscription, clock, tasks, leases, session }))
    }

    /// Takes `amount` of a quota of the caller's tenant, or says why not. `None`: it has no such quota.
    pub async fn take(&self, ctx: &CallContext, quota: Quota, amount: u64) -> Result<Option<Taken>, Error> {
        let (inner, tenant) = (&self.0, ctx.principal.tenant);
        let known = inner.subscription.current();
        if amount == 0 || !known.quotas(tenant).is_some_and(|quotas| has_quota(quota, quotas)) {
            return Ok(None);
        }
        let amount = Amount::from(TokenCount(amount));
        let leases = inner.leases.as_ref();
        let drawn = leases.and_then(|leases| leases.count(tenant, quota, amount, inner.clock.now()));
        let from = match leases.zip(drawn) {
            Some((leases, drawn)) => Source::Lease(Arc::clone(leases), drawn),
            None => Source::Ledger {
                quotas: Arc::clone(inner),
                tenant,
                lease: self.ask(ctx, quota, amount).await?,
            },
        };
        Ok(Some(Taken { amount, from: Some(from) }))
    }

    /// Has the ledger let a call in; returns the lease that is its own.
    async fn ask(&self, ctx: &CallContext, quota: Quota, amount: Amount) -> Result<String, Error> {
        let inner = &self.0;
        let lease = uuid_v7(inner.clock.now()).to_string();
        let request = QuotaLeaseRequest {
            lease_id: lease.clone(),
            session_id: inner.session.clone(),
            quota: quota.as_str().to_owned(),
            least: amount.0,
            wanted: amount.0,
            for_a_call: true,
        };
        let (ctx, hurried) = with_end(ctx);
        let Err(status) = inner.ledger.clone().lease_quota(ctx.request(request)).await else {
            return Ok(lease);
        };
        let error = late(status.into(), hurried);
        if let Some(leases) = inner.leases.as_ref().filter(|_| error.code == Code::QuotaExceeded) {
            leases.run_short_of(ctx.principal.tenant, quota);
        }
        // one of the release before knows no quotas
        Err(if matches!(error.code, Code::Unavailable | Code::NotImplemented) {
            let quota = quota.as_str();
            Error::unavailable(format!(
                "the ledger is away and no {quota} are leased for this call, try again"
            ))
        } else {
            error
        })
    }
}

impl Taken {
    /// So much of it is used.
    pub fn end(mut self, used: u64) {
        self.finish(TokenCount(used).into());
    }

    /// Whether nobody was asked for it.
    #[cfg(test)]
    pub const fn is_leased(&self) -> bool {
        matches!(self.from, Some(Source::Lease(..)))
    }

    fn finish(&mut self, used: Amount) {
        match self.from.take() {
            Some(Source::Lease(leases, drawn)) => leases.end_count(&drawn, used),
            Some(Source::Ledger { quotas, tenant, lease }) if used != self.amount => {
                quotas.tell(tenant, QuotaUse { lease_id: lease, used: used.0, sequence: 1 });
            }
            Some(Source::Ledger { .. }) | None => {}
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.finish(self.amount);
    }
}

impl Inner {
    fn tell(&self, tenant: TenantId, used: QuotaUse) {
        let entry = Entry { entry: Some(Value::Used(used)) };
        match &self.leases {
            Some(leases) => leases.journal.put_one(tenant, entry),
            None => drop(self.tasks.spawn("quota", tell(self.ledger.clone(), tenant, entry))),
        }
    }
}

async fn tell(mut ledger: LedgerClient<Transport>, tenant: TenantId, entry: Entry) {
    let Some(mut ctx) = for_itself("quota") else { return };
    ctx.principal.tenant = tenant;
    for round in 0..TELL_TRIES {
        ctx.deadline = Some(Instant::now() + TELL_TIMEOUT);
        let request = PostRequest { entries: vec![entry.clone()], ..PostRequest::default() };
        if ledger.post(ctx.request(request)).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(100) * 2_u32.pow(round)).await;
    }
    tracing::warn!(%tenant, "the ledger does not hear that a call took less of a quota than it might have");
}
