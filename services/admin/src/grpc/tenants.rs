//! `Tenants`. For the operator alone, as the database says who that is.

use embermesh_auth::{ApiKey, Principal};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    CreateTenantRequest, CreatedTenant, DeleteTenantRequest, GetTenantRequest, ListTenantsRequest,
    ListTenantsResponse, Tenant, UpdateTenantRequest, tenants_server::Tenants,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Handler;
use crate::{
    domain::{
        page::Page,
        tenant::{NewTenant, check_known, merge, the_operator_stays},
    },
    store::{
        failed,
        tenants::{LIST, TenantChange},
    },
};

fn not_found() -> Error {
    Error::not_found("there is no such tenant").with_param("id")
}

/// What is no UUID is no tenant either.
fn tenant_id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| not_found())
}

fn taken() -> Error {
    let message = "another tenant has this name, closed ones keep theirs";
    Error::new(Code::Conflict, message).with_param("name")
}

fn log(what: &'static str, principal: &Principal, id: &str, name: &str) {
    tracing::info!(tenant = id, name, by = %principal.key, "{what}");
}

impl Handler {
    async fn change_of_tenant(&self, principal: &Principal, id: &str) -> Result<TenantChange, Error> {
        let change = self.0.store.change_tenant(principal.tenant, tenant_id(id)?).await.map_err(failed)?;
        change.ok_or_else(not_found)
    }
}

#[tonic::async_trait]
impl Tenants for Handler {
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreatedTenant>, Status> {
        let principal = self.operator(&request).await?.principal;
        let new = NewTenant::parse(request.into_inner())?;
        let change = self.0.store.new_tenant(principal.tenant).await.map_err(failed)?;
        if change.is_taken(&new.name).await.map_err(failed)? {
            return Err(taken().into());
        }
        let lists: [&[String]; 2] = [&new.allowed_models, &new.default_models];
        let known = change.known_models(&lists).await.map_err(failed)?;
        check_known((lists[0], lists[1]), &known)?;
        let key = ApiKey::generate(&self.0.settings.key_environment, &mut rand::rng());
        let made = change.make(&new, &key, self.author(&principal)).await.map_err(failed)?;
        log("made a tenant", &principal, &made.made.id, &made.made.name);
        Ok(self.changed(made))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.operator(&request).await?;
        let ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let (tenants, next_page_token) = self.0.store.every_tenant(&page).await.map_err(failed)?;
        Ok(Response::new(ListTenantsResponse { tenants, next_page_token }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.operator(&request).await?;
        let id = tenant_id(&request.get_ref().id)?;
        let tenant = self.0.store.any_tenant(id).await.map_err(failed)?;
        Ok(Response::new(tenant.ok_or_else(not_found)?))
    }

    async fn update_tenant(&self, request: Request<UpdateTenantRequest>) -> Result<Response<Tenant>, Status> {
        let principal = self.operator(&request).await?.principal;
        let request = request.into_inner();
        let change = self.change_of_tenant(&principal, &request.id).await?;
        let next = merge(&change.current, request)?;
        if next == change.current {
            return Ok(self.changed(change.leave()));
        }
        if next.name != change.current.name && change.is_taken(&next.name).await.map_err(failed)? {
            return Err(taken().into());
        }
        let lists: [&[String]; 2] = [&next.allowed_models, &next.default_models];
        let known = change.known_models(&lists).await.map_err(failed)?;
        check_known((lists[0], lists[1]), &known)?;
        let changed = change.put(&next, self.author(&principal)).await.map_err(failed)?;
        log("changed a tenant", &principal, &changed.made.id, &changed.made.name);
        Ok(self.changed(changed))
    }

    async fn delete_tenant(&self, request: Request<DeleteTenantRequest>) -> Result<Response<Tenant>, Status> {
        let principal = self.operator(&request).await?.principal;
        let change = self.change_of_tenant(&principal, &request.get_ref().id).await?;
        if change.current.operator {
            return Err(the_operator_stays("id").into());
        }
        if change.current.closed_at.is_some() {
            return Ok(self.changed(change.leave()));
        }
        let changed = change.close(self.author(&principal)).await.map_err(failed)?;
        log("closed a tenant", &principal, &changed.made.id, &changed.made.name);
        Ok(self.changed(changed))
    }
}
