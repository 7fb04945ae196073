//! Which agent a call may act for.

use embermesh_auth::Principal;
use embermesh_errors::{Code, Error};
use embermesh_types::AgentId;

/// The agent of a call: the one it names, which a key bound to another agent may not, else the key's own, if it has one.
pub(crate) fn effective(principal: &Principal, named: Option<AgentId>) -> Result<Option<AgentId>, Error> {
    match (&principal.agent, named) {
        (Some(bound), Some(named)) if *bound != named => Err(Error::new(
            Code::Forbidden,
            format!("this key may act only as agent '{bound}'; leave agent_id out or use another key"),
        )
        .with_param("agent_id")),
        (Some(bound), None) => Ok(Some(bound.clone())),
        (_, named) => Ok(named),
    }
}

/// Reads an optional agent id; empty is none.
pub(crate) fn parse(text: &str) -> Result<Option<AgentId>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error: embermesh_types::IdError| Error::invalid("agent_id", error.to_string()))
}

#[cfg(test)]
mod tests {
    use embermesh_auth::Scopes;

    use super::*;

    #[test]
    fn a_bound_key_stays_with_its_agent() {
        let free = Principal {
            tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
            key: "k".parse().unwrap(),
            agent: None,
            scopes: Scopes::default(),
        };
        let bound = Principal { agent: parse("mine").unwrap(), ..free.clone() };
        assert_eq!(effective(&free, None).unwrap(), None);
        assert_eq!(effective(&free, parse("any").unwrap()).unwrap(), parse("any").unwrap());
        assert_eq!(effective(&bound, None).unwrap(), bound.agent);
        assert_eq!(effective(&bound, parse("mine").unwrap()).unwrap(), bound.agent);
        assert_eq!(effective(&bound, parse("other-agent").unwrap()).unwrap_err().code, Code::Forbidden);
    }
}
