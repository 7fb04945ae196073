//! `Reports`.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use embermesh_auth::Scope;
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    AgentCost, AgentCosts, Budget, CostReport, CostReportRow, CostsByAgent, GetAgentCostsRequest,
    GetCostReportRequest, GetCostsByAgentRequest, Period as WirePeriod, reports_server::Reports,
};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::{
    domain::{
        balance::Balance,
        limits::Limits,
        period::{Period, day_of, midnight},
        report::{self, GroupBy, Span},
    },
    store::failed,
};

const DEFAULT_DAYS: u32 = 30;
const MAX_DAYS: u32 = 365;

fn caller<T>(request: &Request<T>, scopes: &[Scope]) -> Result<CallContext, Error> {
    let context = CallContext::of(request)?;
    if scopes.iter().any(|scope| context.principal.may(*scope)) {
        return Ok(context);
    }
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    Err(Error::new(Code::Forbidden, format!("the key needs the scope {}", names.join(" or "))))
}

impl Handler {
    fn budget(&self, context: &CallContext, agent: &AgentId, balance: Balance, now: SystemTime) -> Budget {
        let snapshot = self.0.subscription.current();
        let limits = Limits::of(snapshot.agent(context.principal.tenant, agent).map(AsRef::as_ref));
        Budget {
            limit_nano_usd: limits.day.map(|limit| limit.0),
            spent_nano_usd: balance.spent.0,
            reserved_nano_usd: balance.reserved.0,
            resets_at: Some(Period::Day.end(day_of(now)).into()),
        }
    }
}

#[tonic::async_trait]
impl Reports for Handler {
    async fn get_agent_costs(
        &self,
        request: Request<GetAgentCostsRequest>,
    ) -> Result<Response<AgentCosts>, Status> {
        let context = caller(&request, &[Scope::Costs, Scope::Read])?;
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
        let balances = self.0.store.day_balances(tenant, &[agent.as_str()].into(), today).await;
        let balance = balances.map_err(|error| failed(&error))?.remove(agent.as_str()).unwrap_or_default();
        Ok(Response::new(AgentCosts {
            agent_id,
            period_days: days,
            total_cost_nano_usd: totals.total.0,
            by_provider: totals.by_provider,
            by_model: totals.by_model,
            by_day: totals.by_day,
            request_count: totals.requests,
            tokens_used: totals.tokens,
            budget: Some(self.budget(&context, &agent, balance, now)),
        }))
    }

    async fn get_cost_report(
        &self,
        request: Request<GetCostReportRequest>,
    ) -> Result<Response<CostReport>, Status> {
        let context = caller(&request, &[Scope::Costs])?;
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
        let context = caller(&request, &[Scope::Costs])?;
        let now = self.0.clock.now();
        let span = Span::last_day(now);
        let (tenant, own) = (context.principal.tenant, context.principal.agent.as_ref());
        let rows =
            self.0.store.report(tenant, span, GroupBy::Agent, own).await.map_err(|error| failed(&error))?;
        let names: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let balances =
            self.0.store.day_balances(tenant, &names, day_of(now)).await.map_err(|error| failed(&error))?;
        let agents = rows
            .into_iter()
            .map(|row| {
                let balance = balances.get(&row.key).copied().unwrap_or_default();
                let budget = row.key.parse().ok().map(|agent| self.budget(&context, &agent, balance, now));
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
}
