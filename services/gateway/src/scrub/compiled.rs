//! A policy, and what agents make of it, compiled once each.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use embermesh_errors::Error;
use embermesh_pii::{Action, Entity, Policy, PolicyError, Scrubber};
use embermesh_proto::v1;

/// More settings than this over one policy are not kept compiled.
const MAX_COMPILED: usize = 1024;

/// A policy at work.
#[derive(Debug)]
pub(super) struct Compiled {
    policy: Policy,
    default: Arc<Scrubber>,
    of_agents: RwLock<HashMap<v1::PiiSettings, Arc<Scrubber>>>,
}

impl Compiled {
    /// Compiles it.
    pub fn new(policy: Policy) -> Result<Self, PolicyError> {
        let default = Arc::new(Scrubber::new(&policy)?);
        Ok(Self { policy, default, of_agents: RwLock::default() })
    }

    /// The policy as it is written.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The scrubber of an agent with these settings.
    pub fn of(&self, settings: Option<&v1::PiiSettings>) -> Result<Arc<Scrubber>, Error> {
        match settings.filter(|pii| pii.action.is_some() || !pii.entities.is_empty()) {
            None => Ok(Arc::clone(&self.default)),
            Some(settings) => self.compiled(settings),
        }
    }

    fn compiled(&self, settings: &v1::PiiSettings) -> Result<Arc<Scrubber>, Error> {
        if let Some(known) = self.of_agents.read().unwrap_or_else(PoisonError::into_inner).get(settings) {
            return Ok(known.clone());
        }
        let scrubber = Arc::new(self.compile(settings)?);
        let mut of_agents = self.of_agents.write().unwrap_or_else(PoisonError::into_inner);
        if of_agents.len() >= MAX_COMPILED {
            of_agents.clear();
        }
        of_agents.insert(settings.clone(), scrubber.clone());
        Ok(scrubber)
    }

    /// Settings that cannot be enforced stop the request: text that nobody scrubbed must not go on.
    fn compile(&self, settings: &v1::PiiSettings) -> Result<Scrubber, Error> {
        let unusable = |why: String| {
            tracing::error!(why, "an agent's pii settings cannot be enforced");
            Error::internal("the agent's pii settings cannot be enforced, correct `pii` in its configuration")
        };
        let mut policy = self.policy.clone();
        if let Some(action) = &settings.action {
            policy =
                policy.with_action(action.parse::<Action>().map_err(|error| unusable(error.to_string()))?);
        }
        if !settings.entities.is_empty() {
            let named =
                |name: &String| Entity::named(name).ok_or_else(|| unusable(format!("no entity `{name}`")));
            policy = policy.only(settings.entities.iter().map(named).collect::<Result<Vec<_>, _>>()?);
        }
        Scrubber::new(&policy).map_err(|error| unusable(error.to_string()))
    }
}
