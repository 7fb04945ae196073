//! What a snapshot knows of tenants as such: their state, which models they may use, and their policies.
//!
//! A tenant of which nothing is known is an ordinary one that may use every model: an admin of the release before tells of none.

use std::sync::Arc;

use embermesh_proto::{internal::v1::TenantEntry, v1};
use embermesh_types::TenantId;

use crate::Snapshot;

impl Snapshot {
    /// What is known of a tenant.
    pub fn tenant(&self, tenant: TenantId) -> Option<&Arc<TenantEntry>> {
        self.tenants.get(&tenant)
    }

    /// Whether a tenant is the operator's.
    pub fn is_operator(&self, tenant: TenantId) -> bool {
        self.tenant(tenant).is_some_and(|tenant| tenant.operator)
    }

    /// Whether a tenant may use a model of the catalog.
    pub fn may_use(&self, tenant: TenantId, model: &str) -> bool {
        let allowed = self.tenant(tenant).map_or(&[][..], |tenant| &tenant.allowed_models);
        allowed.is_empty() || allowed.iter().any(|id| id == model)
    }

    /// The models of a tenant's agents that prefer none, best first; empty: the installation's.
    pub fn default_models(&self, tenant: TenantId) -> &[String] {
        self.tenant(tenant).map_or(&[], |tenant| &tenant.default_models)
    }

    /// What a tenant may ask for; `None`: as much as it likes.
    pub fn quotas(&self, tenant: TenantId) -> Option<&v1::Quotas> {
        self.tenant(tenant)?.quotas.as_ref()
    }

    /// Every tenant that has quotas.
    pub fn all_quotas(&self) -> impl Iterator<Item = (TenantId, &v1::Quotas)> {
        self.tenants.iter().filter_map(|(tenant, entry)| Some((*tenant, entry.quotas.as_ref()?)))
    }

    /// Every tenant whose rows do not stay for ever, and for how many days they do. None of no days: that would be all of them.
    pub fn retention(&self) -> impl Iterator<Item = (TenantId, u32)> {
        let days = |entry: &TenantEntry| entry.retention_days.filter(|days| *days > 0);
        self.tenants.iter().filter_map(move |(tenant, entry)| Some((*tenant, days(entry)?)))
    }

    /// A tenant's own policy about personal data.
    pub fn pii_policy(&self, tenant: TenantId) -> Option<&Arc<v1::PiiPolicy>> {
        self.pii_policies.get(&tenant)
    }

    /// With a tenant. One whose `tenant_id` is none is left out.
    #[must_use]
    pub fn with_tenant(mut self, entry: TenantEntry) -> Self {
        if let Ok(id) = entry.tenant_id.parse() {
            self.put_tenant(id, Arc::new(entry));
        }
        self
    }

    /// With a tenant's policy about personal data.
    #[must_use]
    pub fn with_pii_policy(mut self, tenant: TenantId, policy: v1::PiiPolicy) -> Self {
        self.put_pii_policy(tenant, Arc::new(policy));
        self
    }

    pub(crate) fn put_tenant(&mut self, id: TenantId, entry: Arc<TenantEntry>) {
        Arc::make_mut(&mut self.tenants).insert(id, entry);
    }

    pub(crate) fn remove_tenant(&mut self, id: TenantId) {
        Arc::make_mut(&mut self.tenants).remove(&id);
    }

    pub(crate) fn put_pii_policy(&mut self, tenant: TenantId, policy: Arc<v1::PiiPolicy>) {
        Arc::make_mut(&mut self.pii_policies).insert(tenant, policy);
    }

    pub(crate) fn remove_pii_policy(&mut self, tenant: TenantId) {
        Arc::make_mut(&mut self.pii_policies).remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

    #[test]
    fn a_tenant_may_use_what_it_is_allowed_and_an_unknown_one_everything() {
        let tenant: TenantId = TENANT.parse().unwrap();
        assert!(Snapshot::default().may_use(tenant, "small"));
        assert!(!Snapshot::default().is_operator(tenant));
        let entry = |allowed: &[&str]| TenantEntry {
            tenant_id: TENANT.to_owned(),
            operator: true,
            allowed_models: allowed.iter().map(|id| (*id).to_owned()).collect(),
            ..TenantEntry::default()
        };
        let open = Snapshot::default().with_tenant(entry(&[]));
        assert!(open.may_use(tenant, "small") && open.is_operator(tenant));
        let narrow = open.with_tenant(entry(&["small"]));
        assert!(narrow.may_use(tenant, "small") && !narrow.may_use(tenant, "large"));
        let other = "0192d5a0-0000-7000-8000-000000000002".parse().unwrap();
        assert!(narrow.may_use(other, "large") && !narrow.is_operator(other));
    }
}
