//! Looks for migrations that want work, takes one for a lease, and works on it.

use std::time::Duration;

use embermesh_auth::{Principal, Scope};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{ClaimMigrationRequest, ClaimedMigration};
use tokio::time::sleep;
use tonic::Request;
use uuid::Uuid;

use super::{MigrationSettings, Migrations, run::Run};

/// How often a worker looks for what it was not woken for.
const LOOK: Duration = Duration::from_secs(2);
/// How long a migration is its worker's without a word of it. After a kill -9 so much time is lost.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How long the store may take to answer that question.
const PATIENCE: Duration = Duration::from_secs(10);

impl Migrations {
    /// Starts the workers of this process.
    pub fn start(&self, settings: &MigrationSettings, tasks: &Tasks) {
        for _ in 0..settings.workers {
            let (service, end, patience) = (self.clone(), tasks.clone(), settings.patience.0);
            tasks.spawn("migrations", async move {
                let id = Uuid::new_v4();
                while !end.is_stopping() {
                    // before the question: who is woken while it is asked asks again
                    let woken = service.wake.notified();
                    if let Some(claimed) = service.claim(id).await {
                        service.work(id, claimed, patience, &end).await;
                        continue;
                    }
                    tokio::select! {
                        () = end.stopping() => return,
                        () = woken => {}
                        () = sleep(LOOK) => {}
                    }
                }
            });
        }
    }

    async fn claim(&self, worker: Uuid) -> Option<ClaimedMigration> {
        let claim = ClaimMigrationRequest { worker: worker.as_bytes().to_vec().into(), lease_ms: lease_ms() };
        let mut request = Request::new(claim);
        request.set_timeout(PATIENCE);
        match self.store().claim(request).await {
            Ok(reply) => reply.into_inner().claimed,
            Err(status) => {
                tracing::debug!(%status, "no migration can be claimed");
                None
            }
        }
    }

    async fn work(&self, worker: Uuid, claimed: ClaimedMigration, patience: Duration, end: &Tasks) {
        let id = claimed.migration.as_ref().map(|one| one.migration_id.clone()).unwrap_or_default();
        let (Ok(tenant), Ok(key)) = (claimed.tenant_id.parse(), claimed.key_id.parse()) else {
            tracing::error!(migration = id, "the store gave out a migration of nobody");
            return sleep(LOOK).await;
        };
        // the gateway had authenticated whoever began it; what it costs is booked to the same key
        let principal = Principal { tenant, key, agent: None, scopes: [Scope::Admin].into_iter().collect() };
        let Some(run) = Run::new(self, worker, principal, claimed, patience, end) else { return };
        run.work().await;
    }
}

pub(super) fn lease_ms() -> u32 {
    u32::try_from(LEASE.as_millis()).unwrap_or(u32::MAX)
}
