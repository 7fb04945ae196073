//! Who is calling.

use embermesh_types::{AgentId, KeyId, TenantId};

use crate::{Scope, Scopes};

/// Who is calling, as the credential says. The tenant comes from here and from nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data the call may touch.
    pub tenant: TenantId,
    /// The key that was shown.
    pub key: KeyId,
    /// The only agent that the key may act as.
    pub agent: Option<AgentId>,
    /// What the key may do.
    pub scopes: Scopes,
}

impl Principal {
    /// Whether the key may do what needs `scope`.
    pub const fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// Whether the key may act as `agent`.
    pub fn may_act_as(&self, agent: &AgentId) -> bool {
        self.agent.as_ref().is_none_or(|bound| bound == agent)
    }
}
