//! The policies of tenants that have one of their own.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use embermesh_errors::Error;
use embermesh_pii::PiiWords;
use embermesh_proto::v1;

use super::compiled::Compiled;

/// More policies than this in one gateway are not kept compiled.
const MAX_COMPILED: usize = 1024;

/// A policy, and what it is at work.
type AtWork = (Arc<v1::PiiPolicy>, Arc<Compiled>);

/// Kept by where the configuration holds the policy: a change is another place, and a place is not used again while it is kept here.
#[derive(Debug, Default)]
pub(super) struct OfTenants(RwLock<HashMap<usize, AtWork>>);

impl OfTenants {
    /// The policy at work beside the installation's.
    pub fn compiled(
        &self,
        policy: &Arc<v1::PiiPolicy>,
        installation: &Compiled,
    ) -> Result<Arc<Compiled>, Error> {
        let place = Arc::as_ptr(policy).addr();
        if let Some((_, known)) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(compile(policy, installation)?);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_COMPILED {
            all.clear();
        }
        all.insert(place, (Arc::clone(policy), Arc::clone(&compiled)));
        Ok(compiled)
    }
}

/// A policy that cannot be enforced stops the tenant's requests: text that nobody scrubbed must not go on.
fn compile(policy: &v1::PiiPolicy, installation: &Compiled) -> Result<Compiled, Error> {
    let words = PiiWords {
        enabled: policy.enabled,
        action: &policy.action,
        entities: &policy.entities,
        patterns: policy.patterns.iter().map(|one| (one.name.as_str(), one.regex.as_str())).collect(),
        actions: &policy.actions,
    };
    let unusable = |why: String| {
        tracing::error!(why, "a tenant's pii policy cannot be enforced");
        Error::internal(
            "the tenant's pii policy cannot be enforced, correct it at /api/v1/admin/policies/pii",
        )
    };
    let config = words.read().map_err(|error| unusable(error.to_string()))?;
    let policy = config.beside(installation.policy()).map_err(|error| unusable(error.to_string()))?;
    Compiled::new(policy).map_err(|error| unusable(error.to_string()))
}
