//! Verifies the audit chain of a tenant, and the system's own, against everything that was anchored of them.

use embermesh_errors::Error;
use embermesh_proto::v1::{AuditFault, AuditVerified};
use embermesh_types::TenantId;

use crate::{
    domain::chain::{Found, MOST_FAULTS, Walk, What},
    service::Shared,
    store::{audit::BATCH, failed},
};

impl Shared {
    /// Reads everything again. What is wrong with the system's own chain concerns every tenant.
    pub(crate) async fn verify_audit(&self, tenant: TenantId) -> Result<AuditVerified, Error> {
        let closed = |_| Error::unavailable("the service is stopping, try again");
        let _turn = self.anchoring.verifying.acquire().await.map_err(closed)?;
        let own = self.verify_chain(tenant).await?;
        let systems = self.verify_chain(TenantId::SYSTEM).await?;
        let mut faults = told(&own, "");
        faults.extend(told(&systems, "in the system's own chain: "));
        faults.truncate(MOST_FAULTS);
        let (records, anchors) = (own.records + systems.records, own.anchors + systems.anchors);
        Ok(AuditVerified { intact: faults.is_empty(), records, anchors, faults })
    }

    /// Every chain there is.
    pub(crate) async fn verify_all(&self) -> Result<AuditVerified, Error> {
        let mut all = AuditVerified { intact: true, ..AuditVerified::default() };
        for end in self.store.audit_ends().await.map_err(failed)? {
            let found = self.verify_chain(end.tenant).await?;
            all.records += found.records;
            all.anchors += found.anchors;
            all.faults.extend(told(&found, &format!("{}: ", end.tenant)));
        }
        all.intact = all.faults.is_empty();
        Ok(all)
    }

    async fn verify_chain(&self, tenant: TenantId) -> Result<Found, Error> {
        // before the database is read: whatever was anchored by now is in what is read next
        let (mut outside, unreadable) = self.anchoring.outside(tenant).await.map_err(|error| {
            tracing::error!(%error, "the file of audit anchors cannot be read");
            Error::internal("the file of audit anchors cannot be read, see the log of admin")
        })?;
        let mut walk = Walk::new(tenant, self.anchoring.trusted().to_vec());
        for line in unreadable {
            walk.fault(0, What::Line(line));
        }
        let mut reading = self.store.read_chain(tenant, BATCH).await.map_err(failed)?;
        while let Some((records, anchors)) = reading.next().await.map_err(failed)? {
            let last = records.last().map_or(0, |stored| stored.record.number);
            let later = outside.split_off(outside.partition_point(|anchor| anchor.number <= last));
            let known = std::mem::replace(&mut outside, later);
            // milliseconds of hashing, and 50 µs for each signature
            let work = tokio::task::spawn_blocking(move || {
                walk.go_on(&records, &anchors, &known);
                walk
            });
            walk = work.await.map_err(|_| Error::internal("the audit chain cannot be verified"))?;
        }
        let beyond = reading.beyond().await.map_err(failed)?;
        Ok(walk.end(&beyond, &outside))
    }
}

fn told<'a>(found: &'a Found, chain: &'a str) -> Vec<AuditFault> {
    let fault = |fault: &crate::domain::chain::Fault| AuditFault {
        number: fault.number,
        what: format!("{chain}{}", fault.what),
    };
    found.faults.iter().map(fault).collect()
}
