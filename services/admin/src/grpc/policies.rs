//! `Policies`.

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    DeletePiiPolicyRequest, DeletePiiPolicyResponse, GetPiiPolicyRequest, PiiPolicy, PiiPolicyInput,
    policies_server::Policies,
};
use tonic::{Request, Response, Status};

use super::{Handler, caller};
use crate::{
    domain::pii_policy::{entities, hold_to, parse},
    store::{failed, pii_policies::PolicyChange},
};

fn not_found() -> Error {
    Error::not_found("the tenant has no policy of its own, the installation's is in force")
}

fn log(what: &'static str, principal: &Principal, policy: &PiiPolicy) {
    let PiiPolicy { enabled, action, version, .. } = policy;
    tracing::info!(tenant = %principal.tenant, by = %principal.key, enabled, action, version, "{what}");
}

impl Handler {
    async fn write_policy(
        &self,
        principal: &Principal,
        input: PiiPolicyInput,
        replaces: bool,
    ) -> Result<Response<PiiPolicy>, Error> {
        let expected = input.version;
        let next = parse(input, &self.0.settings.pii_entities)?;
        let change = self.0.store.change_pii_policy(principal.tenant).await.map_err(failed)?;
        let current = change.current.as_ref();
        if current.is_some() && !replaces {
            return Err(Error::new(Code::Conflict, "the tenant has a policy already, replace it with PUT"));
        }
        hold_to(expected, current)?;
        if let Some(current) = current
            && same(current, &next)
        {
            return Ok(Response::new(current.clone()));
        }
        self.check_agents(&change, Some(&next)).await?;
        let changed = change.put(&next, self.author(principal)).await.map_err(failed)?;
        log("put a policy about personal data", principal, &changed.made);
        Ok(self.changed(changed))
    }

    /// Refuses a change after which agents would list entities that nobody knows: their texts could go nowhere.
    async fn check_agents(&self, change: &PolicyChange, next: Option<&PiiPolicy>) -> Result<(), Error> {
        let known = entities(next, &self.0.settings.pii_entities);
        let agents = change.agents_beyond(&known).await.map_err(failed)?;
        if agents.is_empty() {
            return Ok(());
        }
        let message = format!(
            "agents list entities in their pii settings that would be gone, change them first: {}",
            agents.join(", ")
        );
        Err(Error::new(Code::Conflict, message).with_param("patterns").with_detail("agents", agents))
    }
}

fn same(current: &PiiPolicy, next: &PiiPolicy) -> bool {
    let PiiPolicy { version, created_at, updated_at, .. } = current.clone();
    *current == PiiPolicy { version, created_at, updated_at, ..next.clone() }
}

#[tonic::async_trait]
impl Policies for Handler {
    async fn create_pii_policy(
        &self,
        request: Request<PiiPolicyInput>,
    ) -> Result<Response<PiiPolicy>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        Ok(self.write_policy(&principal, request.into_inner(), false).await?)
    }

    async fn get_pii_policy(
        &self,
        request: Request<GetPiiPolicyRequest>,
    ) -> Result<Response<PiiPolicy>, Status> {
        let tenant = caller(&request, Scope::Admin)?.principal.tenant;
        let policy = self.0.store.pii_policy(tenant).await.map_err(failed)?;
        Ok(Response::new(policy.ok_or_else(not_found)?))
    }

    async fn put_pii_policy(&self, request: Request<PiiPolicyInput>) -> Result<Response<PiiPolicy>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        Ok(self.write_policy(&principal, request.into_inner(), true).await?)
    }

    async fn delete_pii_policy(
        &self,
        request: Request<DeletePiiPolicyRequest>,
    ) -> Result<Response<DeletePiiPolicyResponse>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let change = self.0.store.change_pii_policy(principal.tenant).await.map_err(failed)?;
        let current = change.current.clone().ok_or_else(not_found)?;
        hold_to(request.get_ref().version, Some(&current))?;
        self.check_agents(&change, None).await?;
        let removed = change.delete(current, self.author(&principal)).await.map_err(failed)?;
        log("removed a policy about personal data", &principal, &removed.made);
        Ok(self.changed(removed).map(|_| DeletePiiPolicyResponse {}))
    }
}
