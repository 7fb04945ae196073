//! `Budgets`.

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    BudgetRule, CreateBudgetRequest, DeleteBudgetRequest, DeleteBudgetResponse, GetBudgetRequest,
    ListBudgetsRequest, ListBudgetsResponse, UpdateBudgetRequest, budgets_server::Budgets,
};
use embermesh_types::NanoUsd;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Handler, caller};
use crate::{
    domain::{
        budget::{NewBudget, merge},
        page::Page,
    },
    store::{
        budgets::{BudgetChange, LIST, Made},
        failed,
    },
};

fn not_found() -> Error {
    Error::not_found("there is no such budget").with_param("id")
}

/// What is no UUID is no budget either.
fn budget_id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| not_found())
}

/// Whether the caller may see a budget. A key that is bound to an agent sees that agent's and its own.
fn may_see(principal: &Principal, budget: &BudgetRule) -> bool {
    let Some(agent) = &principal.agent else { return true };
    match budget.scope.as_str() {
        "agent" => budget.subject == agent.as_str(),
        "key" => budget.subject == principal.key.as_str(),
        _ => false,
    }
}

fn log(what: &'static str, principal: &Principal, budget: &BudgetRule) {
    let BudgetRule { id, scope, subject, period, limit_nano_usd, .. } = budget;
    let (tenant, by, limit) = (principal.tenant, &principal.key, NanoUsd(*limit_nano_usd));
    tracing::info!(%tenant, %by, id, scope, subject, period, limit_usd = %limit, "{what}");
}

impl Handler {
    async fn change_of_budget(&self, principal: &Principal, id: &str) -> Result<BudgetChange, Error> {
        let change = self.0.store.change_budget(principal.tenant, budget_id(id)?).await.map_err(failed)?;
        change.ok_or_else(not_found)
    }
}

#[tonic::async_trait]
impl Budgets for Handler {
    async fn create_budget(
        &self,
        request: Request<CreateBudgetRequest>,
    ) -> Result<Response<BudgetRule>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let new = NewBudget::parse(request.into_inner())?;
        let made = self.0.store.create_budget(self.author(&principal), &new).await;
        match made.map_err(failed)? {
            Made::Budget(changed) => {
                log("made a budget", &principal, &changed.made);
                Ok(self.changed(changed))
            }
            Made::Duplicate(id) => {
                let message =
                    format!("budget {id} is of the same scope, subject and period, change that one");
                Err(Error::new(Code::Conflict, message).with_param("subject").with_detail("id", id).into())
            }
            Made::NoSuchKey => {
                let message = "there is no such key, name one by its id; GET /api/v1/admin/keys lists them";
                Err(Error::invalid("subject", message).into())
            }
        }
    }

    async fn list_budgets(
        &self,
        request: Request<ListBudgetsRequest>,
    ) -> Result<Response<ListBudgetsResponse>, Status> {
        let principal = caller(&request, Scope::Costs)?.principal;
        let ListBudgetsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let only = principal.agent.as_ref().map(|agent| (agent, &principal.key));
        let listed = self.0.store.budgets(principal.tenant, only, &page).await.map_err(failed)?;
        let (budgets, next_page_token) = listed;
        Ok(Response::new(ListBudgetsResponse { budgets, next_page_token }))
    }

    async fn get_budget(&self, request: Request<GetBudgetRequest>) -> Result<Response<BudgetRule>, Status> {
        let principal = caller(&request, Scope::Costs)?.principal;
        let id = budget_id(&request.get_ref().id)?;
        let budget = self.0.store.budget(principal.tenant, id).await.map_err(failed)?;
        let budget = budget.filter(|budget| may_see(&principal, budget));
        Ok(Response::new(budget.ok_or_else(not_found)?))
    }

    async fn update_budget(
        &self,
        request: Request<UpdateBudgetRequest>,
    ) -> Result<Response<BudgetRule>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let request = request.into_inner();
        let change = self.change_of_budget(&principal, &request.id).await?;
        let next = merge(&change.current, &request)?;
        if next == change.current {
            return Ok(Response::new(next));
        }
        let changed = change.put(&next, self.author(&principal)).await.map_err(failed)?;
        log("changed a budget", &principal, &changed.made);
        Ok(self.changed(changed))
    }

    async fn delete_budget(
        &self,
        request: Request<DeleteBudgetRequest>,
    ) -> Result<Response<DeleteBudgetResponse>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let change = self.change_of_budget(&principal, &request.get_ref().id).await?;
        let removed = change.delete(self.author(&principal)).await.map_err(failed)?;
        log("removed a budget", &principal, &removed.made);
        Ok(self.changed(removed).map(|_| DeleteBudgetResponse {}))
    }
}
