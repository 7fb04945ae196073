//! Orders about caches.

use embermesh_auth::Principal;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::OrderCacheRequest;
use embermesh_types::{AgentId, SpaceId, TenantId};

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheAction {
    /// Serve nothing that was kept before.
    Clear,
    /// Only written down: what is kept from now on is newer than every order before.
    Warm,
}

/// An order, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheOrder {
    pub(crate) action: CacheAction,
    /// `None`: every tenant.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) space: Option<SpaceId>,
}

impl CacheOrder {
    /// Checks a request; a key that is bound to an agent orders for that agent alone.
    pub(crate) fn parse(request: &OrderCacheRequest, by: &Principal) -> Result<Self, Error> {
        let OrderCacheRequest { action, tenant_id, agent_id, space_id } = request;
        let action = match action.as_str() {
            "clear" => CacheAction::Clear,
            "warm" => CacheAction::Warm,
            _ => return Err(Error::invalid("action", "choose clear or warm")),
        };
        let tenant = part("tenant_id", tenant_id)?;
        if tenant.is_none() && (action == CacheAction::Warm || !agent_id.is_empty()) {
            return Err(Error::invalid(
                "tenant_id",
                "name a tenant; only a whole cache is cleared of every tenant",
            ));
        }
        let agent = match (part::<AgentId>("agent_id", agent_id)?, &by.agent) {
            (Some(agent), _) if !by.may_act_as(&agent) => {
                return Err(
                    Error::new(Code::Forbidden, "the key is bound to another agent").with_param("agent_id")
                );
            }
            (None, Some(bound)) => Some(bound.clone()),
            (agent, _) => agent,
        };
        Ok(Self { action, tenant, agent, space: part("space_id", space_id)? })
    }

    /// Whether a tenant's own administrators may give it.
    pub(crate) fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == Some(tenant)
    }
}

fn part<T: std::str::FromStr<Err: ToString>>(param: &str, text: &str) -> Result<Option<T>, Error> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error: T::Err| Error::invalid(param, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_auth::Scopes;

    use super::*;

    const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

    fn parse(parts: [&str; 4], bound: Option<&str>) -> Result<CacheOrder, String> {
        let [action, tenant_id, agent_id, space_id] = parts.map(str::to_owned);
        let by = Principal {
            tenant: TENANT.parse().unwrap(),
            key: "k".parse().unwrap(),
            agent: bound.map(|agent| agent.parse().unwrap()),
            scopes: Scopes::default(),
        };
        let request = OrderCacheRequest { action, tenant_id, agent_id, space_id };
        CacheOrder::parse(&request, &by).map_err(|error| error.param.unwrap_or_default())
    }

    #[test]
    fn an_order_is_about_what_it_names() {
        let order = parse(["clear", TENANT, "docs", "m@3"], None).unwrap();
        assert!(order.is_of(TENANT.parse().unwrap()) && !order.is_of(TenantId::SYSTEM));
        assert_eq!((order.agent.unwrap().as_str(), order.space.unwrap().as_str()), ("docs", "m@3"));
        let everything = parse(["clear", "", "", ""], None).unwrap();
        assert!(!everything.is_of(TENANT.parse().unwrap()));
        assert_eq!((everything.tenant, everything.agent, everything.space), (None, None, None));
    }

    #[test]
    fn what_cannot_be_ordered_is_named() {
        for (parts, param) in [
            (["fill", TENANT, "", ""], "action"),
            (["clear", "x", "", ""], "tenant_id"),
            (["warm", "", "", ""], "tenant_id"),
            (["clear", "", "docs", ""], "tenant_id"),
            (["clear", TENANT, "a b", ""], "agent_id"),
            (["clear", TENANT, "", "m"], "space_id"),
        ] {
            assert_eq!(parse(parts, None), Err(param.to_owned()), "{parts:?}");
        }
    }

    #[test]
    fn a_bound_key_orders_for_its_agent() {
        assert_eq!(parse(["clear", TENANT, "", ""], Some("docs")).unwrap().agent.unwrap().as_str(), "docs");
        assert_eq!(parse(["clear", TENANT, "other-agent", ""], Some("docs")), Err("agent_id".to_owned()));
    }
}
