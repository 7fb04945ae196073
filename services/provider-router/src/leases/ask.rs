//! Asks the ledger for a lease, until there is an answer: the ledger may have granted what it could not say.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{BudgetLeaseReply, BudgetLeaseRequest};
use embermesh_types::NanoUsd;
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
        let request = BudgetLeaseRequest {
            lease_id: uuid_v7(self.clock.now()).to_string(),
            session_id: self.journal.session().to_owned(),
            agent_id: purse.path.agent.to_string(),
            key_id: purse.path.key.to_string(),
            provider: purse.path.provider.clone(),
            least_nano_usd: least.0,
            wanted_nano_usd: wanted.0,
        };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_once(purse, request.clone()).await {
                Ok(reply) => return self.granted(purse, request.lease_id, &reply, changes),
                Err(error) if error.code.is_retryable() || error.code == Code::Internal => {
                    tracing::debug!(agent = %purse.path.agent, %error, "no answer about a lease, asking again");
                    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(tenant = %purse.tenant, agent = %purse.path.agent, code = error.code.as_str(), %error, "no lease is granted");
                    return purse.pause(self.millis(), LATER);
                }
            }
        }
    }

    async fn ask_once(&self, purse: &Purse, request: BudgetLeaseRequest) -> Result<BudgetLeaseReply, Error> {
        let mut ctx =
            for_itself("lease").ok_or_else(|| Error::internal("the system's identity is malformed"))?;
        ctx.principal.tenant = purse.tenant;
        ctx.deadline = Some(Instant::now() + PATIENCE);
        let mut ledger = self.ledger.clone();
        let asked = timeout(PATIENCE, ledger.lease_budget(ctx.request(request))).await;
        let late = |_| Error::new(Code::DeadlineExceeded, "the ledger does not answer");
        Ok(asked.map_err(late)??.into_inner())
    }

    fn granted(&self, purse: &Purse, id: String, reply: &BudgetLeaseReply, changes: u64) {
        let granted = NanoUsd(reply.granted_nano_usd);
        if granted.0 <= 0 {
            let later = Duration::from_millis(u64::from(reply.ask_again_ms));
            return purse.pause(self.millis(), if later.is_zero() { LATER } else { later });
        }
        let Some(lease) = Lease::new(id, purse.tenant, reply.day.clone(), granted) else {
            tracing::error!(day = reply.day, "a lease is of no day, it stays unused");
            return purse.pause(self.millis(), LATER);
        };
        tracing::debug!(
            tenant = %purse.tenant, agent = %purse.path.agent, provider = purse.path.provider, lease = lease.id,
            granted = granted.0, "leased"
        );
        self.close(purse.add(lease));
        if purse.changes() != changes {
            self.give_back(purse);
        }
    }
}
