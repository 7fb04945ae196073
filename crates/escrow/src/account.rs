//! Whose use is counted, and in what.

use embermesh_types::{AgentId, KeyId};

/// What a tenant's quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// Requests that are answered with a vector.
    Requests,
    /// Tokens that providers are sent.
    Tokens,
}

impl Quota {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Requests, Self::Tokens];

    /// As it is written in rows and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }

    /// The quota of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|quota| quota.as_str() == name)
    }

    const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Requests => &[Scope::Quota(Self::Requests)],
            Self::Tokens => &[Scope::Quota(Self::Tokens)],
        }
    }
}

/// What a limit is of. Budgets are counted in nano-USD, quotas in what they are of.
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
    /// What the tenant asks for, by count.
    Quota(Quota),
}

impl Scope {
    /// Those that money is counted in, in the order that everybody locks them in.
    pub const OF_MONEY: [Self; 4] = [Self::Tenant, Self::Agent, Self::Key, Self::Provider];

    /// As it is written in configuration and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Agent => "agent",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Quota(quota) => quota.as_str(),
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let money = Self::OF_MONEY.into_iter().find(|scope| scope.as_str() == name);
        money.or_else(|| Quota::parse(name).map(Self::Quota))
    }
}

/// Something whose use is counted, of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// What it is.
    pub scope: Scope,
    /// Which one; empty for the tenant and its quotas.
    pub subject: String,
}

/// What a call takes from: every account that it counts in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Who spends money at whom.
    Money {
        /// The agent that asks.
        agent: AgentId,
        /// The key that it asks with.
        key: KeyId,
        /// The provider entry that is called.
        provider: String,
    },
    /// A quota of the tenant, whoever asks for what.
    Quota(Quota),
}

impl Path {
    /// The scopes of its accounts, in the order that everybody locks them in.
    pub const fn scopes(&self) -> &'static [Scope] {
        match self {
            Self::Money { .. } => &Scope::OF_MONEY,
            Self::Quota(quota) => quota.scopes(),
        }
    }

    /// The account of one of its scopes.
    pub fn account(&self, scope: Scope) -> Account {
        Account { scope, subject: self.subject(scope).to_owned() }
    }

    /// Whether an account is one of its own.
    pub fn counts_in(&self, account: &Account) -> bool {
        self.scopes().contains(&account.scope) && self.subject(account.scope) == account.subject
    }

    /// The name of its account of a scope; empty where the scope alone says which.
    pub fn subject(&self, scope: Scope) -> &str {
        match (self, scope) {
            (Self::Money { agent, .. }, Scope::Agent) => agent.as_str(),
            (Self::Money { key, .. }, Scope::Key) => key.as_str(),
            (Self::Money { provider, .. }, Scope::Provider) => provider,
            _ => "",
        }
    }
}
