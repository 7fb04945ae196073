//! Asks the ledger for a lease, until there is an answer: the ledger may have granted what it could not say.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_escrow::{Amount, Path};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{BudgetLeaseReply, BudgetLeaseRequest, QuotaLeaseRequest};
use tokio::time::{sleep, timeout};

use super::{Lease, Leases, Purse};
use crate::{ids::uuid_v7, probe::for_itself};

/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long not to ask again where the ledger does not say, or refuses to speak of it.
const LATER: Duration = Duration::from_secs(10);

/// Asks for `purse`.
pub(crate) async fn ask(leases: Arc<Leases>, purse: Arc<Purse>, tasks: Tasks) {
    let asked = tokio::select! {
        () = leases.ask(&purse) => true,
        // the session ends, and what was granted ends with it
        () = tasks.stopping() => false,
    };
    if asked {
        purse.asking.store(false, Ordering::Release);
    }
}

impl Leases {
    async fn ask(&self, purse: &Purse) {
        let (least, wanted) = purse.wish(self.millis());
        let changes = purse.changes();
        let lease = uuid_v7(self.clock.now()).to_string();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_once(purse, &lease, least, wanted).await {
                Ok(reply) => return self.granted(purse, lease, &reply, changes),
                Err(error) if error.code.is_retryable() || error.code == Code::Internal => {
                    tracing::debug!(path = ?purse.path, %error, "no answer about a lease, asking again");
                    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(tenant = %purse.tenant, path = ?purse.path, code = error.code.as_str(), %error, "no lease is granted");
                    return purse.pause(self.millis(), LATER);
                }
            }
        }
    }

    async fn ask_once(
        &self,
        purse: &Purse,
        lease: &str,
        least: Amount,
        wanted: Amount,
    ) -> Result<BudgetLeaseReply, Error> {
        let mut ctx =
            for_itself("lease").ok_or_else(|| Error::internal("the system's identity is malformed"))?;
        ctx.principal.tenant = purse.tenant;
        ctx.deadline = Some(Instant::now() + PATIENCE);
        let mut ledger = self.ledger.clone();
        let (lease_id, session_id) = (lease.to_owned(), self.journal.session().to_owned());
        let asked = match &purse.path {
            Path::Money { agent, key, provider } => {
                let request = BudgetLeaseRequest {
                    lease_id,
                    session_id,
                    agent_id: agent.to_string(),
                    key_id: key.to_string(),
                    provider: provider.clone(),
                    least_nano_usd: least.0,
                    wanted_nano_usd: wanted.0,
                };
                timeout(PATIENCE, ledger.lease_budget(ctx.request(request))).await
            }
            Path::Quota(quota) => {
                let request = QuotaLeaseRequest {
                    lease_id,
                    session_id,
                    quota: quota.as_str().to_owned(),
                    least: least.0,
                    wanted: wanted.0,
                    for_a_call: false,
                };
                timeout(PATIENCE, ledger.lease_quota(ctx.request(request))).await
            }
        };
        let late = |_| Error::new(Code::DeadlineExceeded, "the ledger does not answer");
        Ok(asked.map_err(late)??.into_inner())
    }

    fn granted(&self, purse: &Purse, id: String, reply: &BudgetLeaseReply, changes: u64) {
        let granted = Amount(reply.granted);
        if granted.0 <= 0 {
            let later = Duration::from_millis(u64::from(reply.ask_again_ms));
            return purse.pause(self.millis(), if later.is_zero() { LATER } else { later });
        }
        let Some(lease) = Lease::new(id, purse.tenant, reply.day.clone(), granted) else {
            tracing::error!(day = reply.day, "a lease is of no day, it stays unused");
            return purse.pause(self.millis(), LATER);
        };
        tracing::debug!(
            tenant = %purse.tenant, path = ?purse.path, lease = lease.id, granted = granted.0, "leased"
        );
        self.close(purse.add(lease));
        if purse.changes() != changes {
            self.give_back(purse);
        }
    }
}
