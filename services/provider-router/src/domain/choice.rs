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

/// Chooses by what the client named, else by the agent's pin, else by its preferences, else by `defaults`. `serves` tells
/// whether any deployment gives vectors of a model.
pub(crate) fn choose(
    wanted: &Wanted<'_>,
    snapshot: &Snapshot,
    defaults: &[String],
    serves: &dyn Fn(&CatalogModel) -> bool,
) -> Result<Choice, Error> {
    if let Some(id) = wanted.model {
        let model = catalog(snapshot, id)?;
        let space = space_of(&model, wanted.dimensions)?;
        return Ok(Choice { model, space, unpinned: false });
    }
    if let Some(pin) = snapshot.pin(wanted.tenant, wanted.agent, wanted.task_type) {
        return pinned(pin, snapshot, wanted.dimensions);
    }
    let agent = snapshot.agent(wanted.tenant, wanted.agent);
    let preferred = agent.map(|agent| preferences(agent, wanted.task_type)).filter(|ids| !ids.is_empty());
    let ids: Vec<&str> = preferred.unwrap_or_else(|| defaults.iter().map(String::as_str).collect());
    let known: Vec<_> = ids.iter().filter_map(|id| snapshot.model(id)).collect();
    let model = known.iter().find(|model| serves(model)).ok_or_else(|| {
        Error::unavailable(format!("no configured provider serves any of {}", ids.join(", ")))
    })?;
    let asked = agent.and_then(|agent| agent.constraints.as_ref()?.preferred_dimensions);
    // a preference that the chosen model cannot give is no reason to refuse
    let dimensions = wanted.dimensions.or_else(|| asked.filter(|d| space_of(model, Some(*d)).is_ok()));
    Ok(Choice {
        space: space_of(model, dimensions)?,
        model: Arc::clone(model),
        unpinned: wanted.dimensions.is_none(),
    })
}

fn catalog(snapshot: &Snapshot, id: &str) -> Result<Arc<CatalogModel>, Error> {
    snapshot.model(id).map(Arc::clone).ok_or_else(|| {
        let id: String = id.chars().take(100).collect();
        Error::new(Code::NotFound, format!("model '{id}' is not in the catalog, GET /v1/models lists it"))
            .with_param("model")
    })
}

pub(crate) fn pinned(pin: &Pinned, snapshot: &Snapshot, dimensions: Option<u32>) -> Result<Choice, Error> {
    let model = catalog(snapshot, &pin.model)?;
    let space = space_of(&model, dimensions.or(Some(pin.space.dimensions())))?;
    Ok(Choice { model, space, unpinned: false })
}

fn preferences<'a>(agent: &'a Agent, task_type: &str) -> Vec<&'a str> {
    let of = |wanted: &str| agent.model_preferences.iter().find(|p| p.task_type == wanted);
    let Some(preference) = of(task_type).or_else(|| of(GENERAL)) else { return Vec::new() };
    preference.primary_models.iter().chain(&preference.fallback_models).map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
