//! Tells the ledger that this process lives, and hears from it which leases somebody else needs.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{CalledBack, RenewRequest};
use tokio::time::{sleep, timeout};

use super::{Leases, SHORT_OF_MONEY};
use crate::probe::for_itself;

/// The ledger holds a call for a few seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before asking again after a failure, or while something called back is still under way.
const PAUSE: Duration = Duration::from_millis(200);
/// No two calls begin sooner after one another.
const BREATH: Duration = Duration::from_millis(20);

/// Runs until the process stops.
pub(crate) async fn renew(leases: Arc<Leases>, tasks: Tasks) {
    loop {
        let pause = tokio::select! {
            renewed = leases.renew() => match renewed {
                Ok(called) if called.is_empty() => BREATH,
                Ok(called) => if leases.call_back(&called) { BREATH } else { PAUSE },
                Err(error) => {
                    tracing::debug!(code = error.code.as_str(), %error, "the leases are not renewed, trying again");
                    PAUSE.mul_f64(rand::random_range(1.0..5.0))
                }
            },
            () = tasks.stopping() => return,
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = tasks.stopping() => return,
        }
    }
}

impl Leases {
    async fn renew(&self) -> Result<Vec<CalledBack>, Error> {
        let mut ctx =
            for_itself("renew").ok_or_else(|| Error::internal("the system's identity is malformed"))?;
        ctx.deadline = Some(Instant::now() + PATIENCE);
        let request = RenewRequest { session_id: self.journal.session().to_owned() };
        let mut ledger = self.ledger.clone();
        let renewed = timeout(PATIENCE, ledger.renew(ctx.request(request))).await;
        let late = |_| Error::new(Code::DeadlineExceeded, "the ledger does not answer");
        Ok(renewed.map_err(late)??.into_inner().leases)
    }

    /// Gives back what somebody else needs. `false`: there was nothing of it that is not on its way back already.
    fn call_back(&self, called: &[CalledBack]) -> bool {
        let ids: HashSet<&str> = called.iter().map(|one| one.lease_id.as_str()).collect();
        let mut any = false;
        for purse in self.all() {
            let back = purse.take_if(|lease| ids.contains(lease.id.as_str()));
            if !back.is_empty() {
                any = true;
                purse.pause(self.millis(), SHORT_OF_MONEY);
                tracing::debug!(tenant = %purse.tenant, path = ?purse.path, count = back.len(), "leases are called back");
                self.close(back);
            }
        }
        any
    }
}
