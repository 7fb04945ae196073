//! Whose spending is counted.

use embermesh_types::{AgentId, KeyId};

/// What a budget is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All that the tenant spends.
    Tenant,
    /// What one agent spends.
    Agent,
    /// What is spent with one key.
    Key,
    /// What is spent at one provider entry.
    Provider,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Agent, Self::Key, Self::Provider];

    /// As it is written in configuration and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Agent => "agent",
            Self::Key => "key",
            Self::Provider => "provider",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Something whose spending is counted, of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// What it is.
    pub scope: Scope,
    /// Which one; empty for the tenant.
    pub subject: String,
}

/// Who spends at whom: every account that a call counts in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The agent that asks.
    pub agent: AgentId,
    /// The key that it asks with.
    pub key: KeyId,
    /// The provider entry that is called.
    pub provider: String,
}

impl Path {
    /// The account of a scope.
    pub fn account(&self, scope: Scope) -> Account {
        Account { scope, subject: self.subject(scope).to_owned() }
    }

    /// Its four accounts, in the order that everybody locks them in.
    pub fn accounts(&self) -> [Account; 4] {
        Scope::ALL.map(|scope| self.account(scope))
    }

    /// The name of an account of a scope.
    pub fn subject(&self, scope: Scope) -> &str {
        match scope {
            Scope::Tenant => "",
            Scope::Agent => self.agent.as_str(),
            Scope::Key => self.key.as_str(),
            Scope::Provider => &self.provider,
        }
    }
}
