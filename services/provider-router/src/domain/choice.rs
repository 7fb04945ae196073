//! Which model, and with it which space, answers a request.

use std::sync::Arc;

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{Agent, CatalogModel};
use embermesh_subscription::{Pinned, Snapshot};
use embermesh_types::{AgentId, SpaceId, TenantId};

use super::space::space_of;

/// Task type whose preferences stand in for those of a type without its own.
const GENERAL: &str = "general_qa";

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub tenant: TenantId,
    pub agent: &'a AgentId,
    pub task_type: &'a str,
    /// Catalog id; absent: the agent's.
    pub model: Option<&'a str>,
    pub dimensions: Option<u32>,
}

/// The model that answers, and in which space.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub model: Arc<CatalogModel>,
    pub space: SpaceId,
    /// The agent's configuration chose and nothing is pinned yet: pin this before the first vector leaves.
    pub unpinned: bool,
}

/// Why a model is a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Asked,
    Pinned,
    Primary,
    Fallback,
    Default,
}

/// Chooses by what the client named, else by the agent's pin, else among its preferences by `best`, else the first of `defaults` that
/// is served. `serves` tells whether any provider gives vectors of a model; `best` puts models that are preferred alike in order.
pub(crate) fn choose(
    wanted: &Wanted<'_>,
    snapshot: &Snapshot,
    defaults: &[String],
    serves: &dyn Fn(&CatalogModel) -> bool,
    best: &dyn Fn(&[Arc<CatalogModel>]) -> Option<usize>,
) -> Result<Choice, Error> {
    if let Some(id) = wanted.model {
        let model = catalog(snapshot, id)?;
        check_use(snapshot, wanted.tenant, id)?;
        let space = space_of(&model, wanted.dimensions)?;
        return Ok(Choice { model, space, unpinned: false });
    }
    if let Some(pin) = snapshot.pin(wanted.tenant, wanted.agent, wanted.task_type) {
        return pinned(pin, snapshot, wanted.tenant, wanted.dimensions);
    }
    let agent = snapshot.agent(wanted.tenant, wanted.agent);
    let (model, _) = tiers(agent.map(|agent| &**agent), wanted.task_type, defaults)
        .into_iter()
        .find_map(|(role, ids)| {
            let usable = ids.iter().filter(|id| snapshot.may_use(wanted.tenant, id));
            let known = usable.filter_map(|id| snapshot.model(id)).filter(|model| serves(model));
            let known: Vec<_> = known.cloned().collect();
            let at = if known.len() > 1 { best(&known).unwrap_or(0) } else { 0 };
            known.get(at).map(|model| (Arc::clone(model), role))
        })
        .ok_or_else(|| {
            let ids = tiers(agent.map(|agent| &**agent), wanted.task_type, defaults);
            let ids: Vec<&str> = ids.into_iter().flat_map(|(_, ids)| ids).collect();
            if !ids.is_empty() && !ids.iter().any(|id| snapshot.may_use(wanted.tenant, id)) {
                let models = ids.join(", ");
                return not_allowed(format!(
                    "the tenant may use none of the models that the agent prefers: {models}; GET /v1/models lists those it may use"
                ));
            }
            Error::unavailable(format!("no configured provider serves any of {}", ids.join(", ")))
        })?;
    let asked = agent.and_then(|agent| agent.constraints.as_ref()?.preferred_dimensions);
    // a preference that the chosen model cannot give is no reason to refuse
    let dimensions = wanted.dimensions.or_else(|| asked.filter(|d| space_of(&model, Some(*d)).is_ok()));
    Ok(Choice { space: space_of(&model, dimensions)?, model, unpinned: true })
}

/// The models that an agent's configuration puts up for a task type, in the order of preference; those of one entry are preferred
/// alike. Without any, the operator's defaults, one after the other.
pub(crate) fn tiers<'a>(
    agent: Option<&'a Agent>,
    task_type: &str,
    defaults: &'a [String],
) -> Vec<(Role, Vec<&'a str>)> {
    let of = |wanted: &str| agent?.model_preferences.iter().find(|p| p.task_type == wanted);
    let Some(preference) = of(task_type).or_else(|| of(GENERAL)) else {
        return defaults.iter().map(|id| (Role::Default, vec![id.as_str()])).collect();
    };
    let ids = |ids: &'a [String]| ids.iter().map(String::as_str).collect::<Vec<_>>();
    let primaries = (Role::Primary, ids(&preference.primary_models));
    let fallbacks = (Role::Fallback, ids(&preference.fallback_models));
    [primaries, fallbacks].into_iter().filter(|(_, ids)| !ids.is_empty()).collect()
}

/// The models that may answer while `choice` is down, in the order of preference; with `dimensions` only those that have that length.
pub(crate) fn fallbacks(
    tenant: TenantId,
    choice: &Choice,
    dimensions: Option<u32>,
    agent: Option<&Agent>,
    task_type: &str,
    snapshot: &Snapshot,
    serves: &dyn Fn(&CatalogModel) -> bool,
) -> Vec<Choice> {
    let others = tiers(agent, task_type, &[]).into_iter().flat_map(|(_, ids)| ids);
    let usable = others.filter(|id| snapshot.may_use(tenant, id));
    let others = usable.filter_map(|id| snapshot.model(id)).filter(|model| model.id != choice.model.id);
    let served = others.filter(|model| serves(model));
    let choices = served.filter_map(|model| {
        let space = space_of(model, dimensions).ok()?;
        (space != choice.space).then(|| Choice { model: Arc::clone(model), space, unpinned: false })
    });
    choices.collect()
}

fn catalog(snapshot: &Snapshot, id: &str) -> Result<Arc<CatalogModel>, Error> {
    snapshot.model(id).map(Arc::clone).ok_or_else(|| {
        let id: String = id.chars().take(100).collect();
        Error::new(Code::NotFound, format!("model '{id}' is not in the catalog, GET /v1/models lists it"))
            .with_param("model")
    })
}

fn check_use(snapshot: &Snapshot, tenant: TenantId, id: &str) -> Result<(), Error> {
    if snapshot.may_use(tenant, id) {
        return Ok(());
    }
    Err(not_allowed(format!(
        "the tenant may not use the model '{id}', GET /v1/models lists those it may use"
    )))
}

fn not_allowed(message: String) -> Error {
    Error::new(Code::Forbidden, message).with_param("model")
}

/// The choice that a pin is. No other model can stand in for one that the tenant may not use any more: it has other vectors.
pub(crate) fn pinned(
    pin: &Pinned,
    snapshot: &Snapshot,
    tenant: TenantId,
    dimensions: Option<u32>,
) -> Result<Choice, Error> {
    let model = catalog(snapshot, &pin.model)?;
    if !snapshot.may_use(tenant, &pin.model) {
        return Err(not_allowed(format!(
            "the agent's vectors lie in the space of the model '{}', which the tenant may not use any more",
            pin.model
        )));
    }
    let space = space_of(&model, dimensions.or(Some(pin.space.dimensions())))?;
    Ok(Choice { model, space, unpinned: false })
}

#[cfg(test)]
mod tests;
