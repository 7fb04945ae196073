//! Why a text of an agent goes where it goes: every candidate as it stands now, without sending anything.

use std::{sync::Arc, time::Instant};

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{Candidate, CatalogModel, ExplainRequest, Explanation, Measured, ScoreParts};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, SpaceId, TokenCount};

use crate::{
    batch::Terms,
    consider::{Considered, considered},
    domain::{
        choice::{Role, tiers},
        rank,
        score::{Parts, Weights},
        space::space_of,
        strategy::Strategy,
    },
    embed::Embedder,
    proof::Standing,
    resolve::{Question, task_or_default},
};

/// Tokens of the text that costs are told for, where the request does not say.
pub(crate) const TOKENS: u64 = 1000;

/// A candidate on its way into the answer.
struct Row {
    role: Role,
    /// Position among the models of its role that are tried one after the other.
    tier: usize,
    /// Of the model that a text would go to now.
    of_choice: bool,
    candidate: Candidate,
}

impl Embedder {
    /// Explains.
    pub fn explain(&self, ctx: &CallContext, request: ExplainRequest) -> Result<Explanation, Error> {
        let agent = agent_of(ctx, &request.agent_id)?;
        let task_type = task_or_default(request.task_type.as_deref().unwrap_or_default());
        let mut terms = self.profile(ctx, &agent)?.terms;
        if let Some(name) = &request.embedding_strategy {
            terms.strategy =
                name.parse().map_err(|e| Error::invalid("embedding_strategy", format!("{e}")))?;
        }
        let model = request.model.as_deref().unwrap_or_default();
        let dimensions = request.dimensions.unwrap_or_default();
        let question = Question { agent: &agent, task_type, model, dimensions, strategy: terms.strategy };
        let choice = self.resolver.resolve(ctx, question)?;
        let snapshot = self.resolver.snapshot()?;
        let tenant = ctx.principal.tenant;
        let pinned = snapshot.pin(tenant, &agent, task_type).map(|pin| pin.space.to_string());

        let tokens = request.token_estimate.unwrap_or(TOKENS);
        let mut rows = Vec::new();
        let role = match (model.is_empty(), &pinned) {
            (false, _) => Some(Role::Asked),
            (true, Some(_)) => Some(Role::Pinned),
            (true, None) => None,
        };
        let of_agent = snapshot.agent(tenant, &agent).map(|agent| &**agent);
        let mut listed = role.map(|role| vec![(role, vec![choice.model.id.as_str()])]).unwrap_or_default();
        listed.extend(tiers(of_agent, task_type, self.resolver.defaults(&snapshot, tenant)));
        let mut shown: Vec<&str> = Vec::new();
        for (tier, (role, ids)) in listed.into_iter().enumerate() {
            for id in ids {
                if shown.contains(&id) {
                    continue;
                }
                shown.push(id);
                let of_choice = id == choice.model.id;
                match snapshot.model(id) {
                    Some(_) if !snapshot.may_use(tenant, id) => {
                        rows.push(excluded(id, role, tier, "the tenant may not use the model"));
                    }
                    Some(model) => {
                        let space =
                            if of_choice { Some(choice.space.clone()) } else { space_of(model, None).ok() };
                        rows.extend(self.rows(model, space, &terms, tokens, role, tier, of_choice));
                    }
                    None => rows.push(excluded(id, role, tier, "the catalog does not have the model")),
                }
            }
        }
        Ok(explanation(agent, task_type, terms.strategy, pinned, rows))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what one model's rows are made of; nothing else is made of it"
    )]
    fn rows(
        &self,
        model: &Arc<CatalogModel>,
        space: Option<SpaceId>,
        terms: &Terms,
        tokens: u64,
        role: Role,
        tier: usize,
        of_choice: bool,
    ) -> Vec<Row> {
        let (now, wall) = (Instant::now(), self.attempts.clock.now());
        let all = self.resolver.deployments.of(model);
        let proving = self.attempts.proofs.interval.is_some();
        let peers = all.len() > 1;
        let space = space.map(|space| space.to_string());
        let refused = self.resolver.deployments.refused_for(model);
        let refused = refused.iter().map(|one| {
            let mut row = excluded(&model.id, role, tier, &one.reason);
            row.candidate.name = format!("{}/{}", one.name, model.id);
            row.candidate.provider = Some(one.name.to_string());
            row.candidate.space_id.clone_from(&space);
            row
        });
        let refused: Vec<Row> = refused.collect();
        if all.is_empty() && !refused.is_empty() {
            return refused;
        }
        if all.is_empty() {
            let mut row = excluded(&model.id, role, tier, "no configured provider serves the model");
            row.candidate.space_id = space;
            return vec![row];
        }
        all.into_iter()
            .map(|deployment| {
                let measured = deployment.stats.summary(now);
                let one = considered(deployment, model, terms, measured, wall, now);
                let prove = proving && (peers || one.deployment.account.is_newcomer());
                let candidate = candidate(&one, role, space.clone(), tokens, prove, now);
                Row { role, tier, of_choice, candidate }
            })
            .chain(refused)
            .collect()
    }
}

/// An agent that the caller may act as.
fn agent_of(ctx: &CallContext, named: &str) -> Result<AgentId, Error> {
    let agent: AgentId = named.parse().map_err(|error| Error::invalid("agent_id", format!("{error}")))?;
    if ctx.principal.may_act_as(&agent) {
        return Ok(agent);
    }
    let message = "the key is bound to another agent, leave `agent_id` out or use that agent's key";
    Err(Error::new(Code::Forbidden, message).with_param("agent_id"))
}

fn explanation(
    agent: AgentId,
    task_type: &str,
    strategy: Strategy,
    pinned_space_id: Option<String>,
    rows: Vec<Row>,
) -> Explanation {
    let candidates: Vec<_> = rows
        .iter()
        .map(|row| rank::Candidate {
            name: &row.candidate.name,
            role: row.role,
            tier: row.tier,
            callable: row.candidate.status != "excluded",
            score: row.candidate.score,
            load: row.candidate.parts.as_ref().map_or(0.0, |parts| parts.load),
        })
        .collect();
    let order = rank::rank(&candidates);
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut rows: Vec<Row> = order.into_iter().filter_map(|at| rows.get_mut(at)?.take()).collect();
    let chosen = rows.iter().position(|row| row.of_choice && row.candidate.status != "excluded");
    if let Some(at) = chosen {
        let (role, model) = (rows[at].role, rows[at].candidate.model.clone());
        let candidate = &mut rows[at].candidate;
        candidate.status = "chosen".to_owned();
        candidate.reason = format!("{}; best score of {model} under {}", why(role), strategy.as_str());
        let best = rows[at].candidate.clone();
        for row in rows.iter_mut().filter(|row| row.candidate.status == "standby" && row.role == role) {
            if let Some(reason) = behind(&row.candidate, &best, &Weights::of(strategy)) {
                row.candidate.reason = reason;
            }
        }
    }
    let weights = Weights::of(strategy);
    Explanation {
        agent_id: agent.into(),
        task_type: task_type.to_owned(),
        embedding_strategy: strategy.as_str().to_owned(),
        weights: Some(ScoreParts {
            latency: weights.latency,
            success: weights.success,
            price: weights.price,
            quality: weights.quality,
            load: weights.load,
        }),
        pinned_space_id,
        chosen: chosen.map(|at| rows[at].candidate.name.clone()),
        candidates: rows.into_iter().map(|row| row.candidate).collect(),
    }
}

/// By how much and above all in what a candidate is behind the best.
fn behind(candidate: &Candidate, best: &Candidate, weights: &Weights) -> Option<String> {
    let (own, other) = (candidate.parts.as_ref()?, best.parts.as_ref()?);
    let deficits = [
        ("latency", (other.latency - own.latency) * weights.latency),
        ("success", (other.success - own.success) * weights.success),
        ("price", (other.price - own.price) * weights.price),
        ("quality", (other.quality - own.quality) * weights.quality),
        ("load", (other.load - own.load) * weights.load),
    ];
    let (part, most) = deficits.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let by = best.score - candidate.score;
    Some(if by < 0.005 {
        "as good as the chosen one, they take turns".to_owned()
    } else {
        format!("{by:.3} behind {}, above all in {part} ({most:.3})", best.name)
    })
}

const fn why(role: Role) -> &'static str {
    match role {
        Role::Asked => "the request names its model",
        Role::Pinned => "the agent's vectors lie in its space",
        Role::Primary => "a primary model of the agent",
        Role::Fallback => "no primary model is served, a fallback model of the agent",
        Role::Default => "the operator's default",
    }
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Asked => "asked",
        Role::Pinned => "pinned",
        Role::Primary => "primary",
        Role::Fallback => "fallback",
        Role::Default => "default",
    }
}

fn excluded(id: &str, role: Role, tier: usize, reason: &str) -> Row {
    let candidate = Candidate {
        name: id.to_owned(),
        model: id.to_owned(),
        role: name_of(role).to_owned(),
        status: "excluded".to_owned(),
        reason: reason.to_owned(),
        ..Candidate::default()
    };
    Row { role, tier, of_choice: false, candidate }
}

fn candidate(
    one: &Considered,
    role: Role,
    space_id: Option<String>,
    tokens: u64,
    prove: bool,
    now: Instant,
) -> Candidate {
    let deployment = &one.deployment;
    let Parts { latency, success, price, quality, load } = one.parts;
    let (status, reason) = match &one.exclusion {
        Some(exclusion) => ("excluded", exclusion.to_string()),
        None if prove && deployment.proof.standing() == Standing::Unproven => {
            ("standby", "not yet shown to give the space's vectors; the first call looks".to_owned())
        }
        None if role == Role::Fallback => ("standby", "a fallback model".to_owned()),
        None => ("standby", "another candidate comes first".to_owned()),
    };
    let ms = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
    Candidate {
        name: deployment.name.to_string(),
        model: deployment.model.to_string(),
        space_id,
        provider: Some(deployment.account.name.to_string()),
        role: name_of(role).to_owned(),
        status: status.to_owned(),
        reason,
        score: one.score,
        parts: Some(ScoreParts { latency, success, price, quality, load }),
        circuit_breaker_state: Some(deployment.report(now).state.as_str().to_owned()),
        measured: Some(Measured {
            calls: one.measured.calls,
            p50_ms: ms(one.measured.p50),
            p95_ms: ms(one.measured.p95),
            p99_ms: ms(one.measured.p99),
            success_rate: one.measured.success_rate,
            in_flight: deployment.concurrency.in_flight(),
        }),
        cost_nano_usd: one.tariff.map(|tariff| {
            let NanoUsd(cost) = tariff.price.cost(TokenCount(tokens));
            cost
        }),
    }
}
