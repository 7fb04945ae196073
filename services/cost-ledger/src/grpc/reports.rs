//! `Reports`.

use std::time::{Duration, SystemTime};

use embermesh_auth::Scope as KeyScope;
use embermesh_errors::{Code, Error};
use embermesh_escrow::{Period, Scope, day_of, midnight};
use embermesh_proto::v1::{
    AgentCost, AgentCosts, BooksDifference, BooksVerified, Budget, BudgetStates, CostReport, CostReportRow,
    CostsByAgent, GetAgentCostsRequest, GetBudgetStatesRequest, GetCostReportRequest, GetCostsByAgentRequest,
    GetTenantQuotasRequest, Period as WirePeriod, QuotaStates, VerifyBooksRequest, reports_server::Reports,
};
use embermesh_subscription::Snapshot;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd};
use tonic::{Request, Response, Status};

use super::{
    Handler,
    standing::{self, budget},
};
use crate::{
    domain::{
        balance::{Balance, BalanceKey},
        limited,
        report::{self, GroupBy, Span},
    },
    store::{Difference, failed},
};

const DEFAULT_DAYS: u32 = 30;
const MAX_DAYS: u32 = 365;

fn caller<T>(request: &Request<T>, scopes: &[KeyScope]) -> Result<CallContext, Error> {
    let context = CallContext::of(request)?;
    if scopes.iter().any(|scope| context.principal.may(*scope)) {
        return Ok(context);
    }
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    Err(Error::new(Code::Forbidden, format!("the key needs the scope {}", names.join(" or "))))
}

fn day_key(agent: &str, now: SystemTime) -> BalanceKey {
    let (scope, subject) = (Scope::Agent, agent.to_owned());
    BalanceKey { scope, subject, period: Period::Day, start: day_of(now) }
}

/// The budget of an agent's day.
fn day_budget(
    known: &Snapshot,
    context: &CallContext,
    agent: &AgentId,
    balance: &Balance,
    now: SystemTime,
) -> Budget {
    let tenant = context.principal.tenant;
    let budgets = known.budgets(tenant).map(AsRef::as_ref);
    let limit = limited::day_of_agent(agent, known.agent(tenant, agent).map(AsRef::as_ref), budgets);
    budget(limit, balance, Period::Day, now)
}

#[tonic::async_trait]
impl Reports for Handler {
    async fn get_agent_costs(
        &self,
        request: Request<GetAgentCostsRequest>,
    ) -> Result<Response<AgentCosts>, Status> {
        let context = caller(&request, &[KeyScope::Costs, KeyScope::Read])?;
        let GetAgentCostsRequest { agent_id, period_days } = request.into_inner();
        let agent: AgentId = agent_id
            .parse()
            .map_err(|error: embermesh_types::IdError| Error::invalid("agent_id", error.to_string()))?;
        if !context.principal.may_act_as(&agent) {
            return Err(Error::new(Code::Forbidden, "the key is bound to another agent")
                .with_param("agent_id")
                .into());
        }
        let days = period_days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(Error::invalid("period_days", format!("expected 1 to {MAX_DAYS}")).into());
        }
        let now = self.0.clock.now();
        let today = day_of(now);
        // whole days, today's included
        let from = midnight(today) - Duration::from_secs(24 * 3600) * (days - 1);
        let (tenant, span) = (context.principal.tenant, Span { from, to: Period::Day.end(today) });
        let totals = self.0.store.agent_totals(tenant, &agent, span).await.map_err(|error| failed(&error))?;
        let balances = self.0.store.standings(tenant, &[day_key(agent.as_str(), now)]).await;
        let balance = balances.map_err(|error| failed(&error))?.first().copied().unwrap_or_default();
        // without a configuration "no limit" would be a guess
        let known = self.0.subscription.known();
        let budget = known.map(|known| day_budget(&known, &context, &agent, &balance, now));
        Ok(Response::new(AgentCosts {
            agent_id,
            period_days: days,
            total_cost_nano_usd: totals.total.0,
            by_provider: totals.by_provider,
            by_model: totals.by_model,
            by_day: totals.by_day,
            request_count: totals.requests,
            tokens_used: totals.tokens,
            budget,
        }))
    }

    async fn get_cost_report(
        &self,
        request: Request<GetCostReportRequest>,
    ) -> Result<Response<CostReport>, Status> {
        let context = caller(&request, &[KeyScope::Costs])?;
        let (span, group_by) = report::parse(request.get_ref(), self.0.clock.now())?;
        let (tenant, own) = (context.principal.tenant, context.principal.agent.as_ref());
        let rows = self.0.store.report(tenant, span, group_by, own).await.map_err(|error| failed(&error))?;
        Ok(Response::new(CostReport {
            from: Some(span.from.into()),
            to: Some(span.to.into()),
            group_by: group_by.as_str().to_owned(),
            total_cost_nano_usd: rows.iter().map(|row| row.cost).sum::<NanoUsd>().0,
            saved_nano_usd: rows.iter().map(|row| row.saved).sum::<NanoUsd>().0,
            rows: rows
                .into_iter()
                .map(|row| CostReportRow {
                    key: row.key,
                    cost_nano_usd: row.cost.0,
                    request_count: row.requests,
                    tokens_used: row.tokens,
                    cached_count: row.cached,
                })
                .collect(),
        }))
    }

    async fn get_costs_by_agent(
        &self,
        request: Request<GetCostsByAgentRequest>,
    ) -> Result<Response<CostsByAgent>, Status> {
        let context = caller(&request, &[KeyScope::Costs])?;
        let now = self.0.clock.now();
        let span = Span::last_day(now);
        let (tenant, own) = (context.principal.tenant, context.principal.agent.as_ref());
        let rows =
            self.0.store.report(tenant, span, GroupBy::Agent, own).await.map_err(|error| failed(&error))?;
        let keys: Vec<BalanceKey> = rows.iter().map(|row| day_key(&row.key, now)).collect();
        let balances = self.0.store.standings(tenant, &keys).await.map_err(|error| failed(&error))?;
        let known = self.0.subscription.known();
        let agents = rows
            .into_iter()
            .zip(balances)
            .map(|(row, balance)| {
                let agent = row.key.parse().ok().zip(known.as_ref());
                let budget = agent.map(|(agent, known)| day_budget(known, &context, &agent, &balance, now));
                AgentCost {
                    agent_id: row.key,
                    total_cost_nano_usd: row.cost.0,
                    request_count: row.requests,
                    budget,
                }
            })
            .collect();
        let period = Some(WirePeriod { from: Some(span.from.into()), to: Some(span.to.into()) });
        Ok(Response::new(CostsByAgent { period, agents }))
    }

    async fn get_budget_states(
        &self,
        request: Request<GetBudgetStatesRequest>,
    ) -> Result<Response<BudgetStates>, Status> {
        let context = caller(&request, &[KeyScope::Costs])?;
        let principal = &context.principal;
        let quotas = match &principal.agent {
            None => standing::quotas(&self.0, principal.tenant).await?,
            Some(_) => Vec::new(),
        };
        Ok(Response::new(BudgetStates { budgets: standing::states(&self.0, principal).await?, quotas }))
    }

    async fn get_tenant_quotas(
        &self,
        request: Request<GetTenantQuotasRequest>,
    ) -> Result<Response<QuotaStates>, Status> {
        let context = caller(&request, &[KeyScope::Admin])?;
        let known = self.0.subscription.current();
        if !known.is_operator(context.principal.tenant) {
            let message = "this concerns every tenant, use an admin key of the operator's tenant";
            return Err(Error::new(Code::Forbidden, message).into());
        }
        let tenant = request.get_ref().id.parse().ok().filter(|tenant| known.tenant(*tenant).is_some());
        let absent = || Error::not_found("there is no such tenant").with_param("id");
        let quotas = standing::quotas(&self.0, tenant.ok_or_else(absent)?).await?;
        Ok(Response::new(QuotaStates { quotas }))
    }

    async fn verify_books(
        &self,
        request: Request<VerifyBooksRequest>,
    ) -> Result<Response<BooksVerified>, Status> {
        let context = caller(&request, &[KeyScope::Costs])?;
        if context.principal.agent.is_some() {
            let message = "the key is bound to one agent, verify the books with one that is not";
            return Err(Error::new(Code::Forbidden, message).into());
        }
        let tenant = context.principal.tenant;
        // it reads all there is, so one at a time
        let _alone = self.0.verifying.lock().await;
        let verified = self.0.store.verify(tenant).await.map_err(|error| failed(&error))?;
        if !verified.differences.is_empty() {
            tracing::error!(%tenant, differences = verified.differences.len(), "the books do not balance");
        }
        Ok(Response::new(BooksVerified {
            attempts: verified.attempts,
            charges: verified.charges,
            balances: verified.balances,
            leases: verified.leases,
            differences: verified.differences.into_iter().map(difference).collect(),
        }))
    }
}

fn difference(difference: Difference) -> BooksDifference {
    let Difference { what, subject, recorded, recomputed } = difference;
    BooksDifference { what, subject, recorded, recomputed }
}
