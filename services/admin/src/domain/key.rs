//! Which API keys may be made.

use std::time::SystemTime;

use embermesh_auth::{Scope, Scopes};
use embermesh_errors::Error;
use embermesh_proto::v1::CreateKeyRequest;
use embermesh_types::AgentId;

use super::names::check_label;

/// A key that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewKey {
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    pub(crate) agent: Option<AgentId>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What a key may do unless it is said: everything an agent needs.
pub(crate) const DEFAULT_SCOPES: [Scope; 3] = [Scope::Embed, Scope::Search, Scope::Read];

impl NewKey {
    /// Checks a request made at `now`.
    pub(crate) fn parse(request: CreateKeyRequest, now: SystemTime) -> Result<Self, Error> {
        check_label("name", &request.name, 100)?;
        let scopes = if request.scopes.is_empty() {
            Scopes::from_iter(DEFAULT_SCOPES)
        } else {
            Scopes::parse(request.scopes.iter().map(String::as_str))
                .map_err(|error| Error::invalid("scopes", error.to_string()))?
        };
        let agent: Option<AgentId> = match request.agent_id {
            None => None,
            Some(id) => Some(
                id.parse()
                    .map_err(|e: embermesh_types::IdError| Error::invalid("agent_id", e.to_string()))?,
            ),
        };
        if agent.is_some() && scopes.iter().any(|scope| scope == Scope::Admin) {
            return Err(Error::invalid("scopes", "a key of one agent cannot have the scope admin"));
        }
        let expires_at = match request.expires_at {
            None => None,
            Some(time) => {
                let time = SystemTime::try_from(time).ok().filter(|time| *time > now);
                Some(time.ok_or_else(|| Error::invalid("expires_at", "the time must lie in the future"))?)
            }
        };
        Ok(Self { name: request.name, scopes, agent, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CreateKeyRequest {
        CreateKeyRequest { name: "ci".to_owned(), ..CreateKeyRequest::default() }
    }

    fn refused(request: CreateKeyRequest) -> Option<String> {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        NewKey::parse(request, now).unwrap_err().param
    }

    #[test]
    fn a_key_may_do_what_agents_do_unless_it_is_said() {
        let key = NewKey::parse(request(), SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(key.scopes, Scopes::parse(["embed", "search", "read"]).unwrap());
    }

    #[test]
    fn impossible_keys_are_refused_by_field() {
        let admin = vec!["admin".to_owned()];
        let bound = Some("docs".to_owned());
        assert_eq!(refused(CreateKeyRequest::default()).as_deref(), Some("name"));
        assert_eq!(
            refused(CreateKeyRequest { scopes: vec!["root".to_owned()], ..request() }).as_deref(),
            Some("scopes")
        );
        assert_eq!(
            refused(CreateKeyRequest { scopes: admin, agent_id: bound, ..request() }).as_deref(),
            Some("scopes")
        );
        assert_eq!(
            refused(CreateKeyRequest { agent_id: Some(String::new()), ..request() }).as_deref(),
            Some("agent_id")
        );
        for seconds in [999, 1_000, i64::MIN] {
            let expires_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
            assert_eq!(refused(CreateKeyRequest { expires_at, ..request() }).as_deref(), Some("expires_at"));
        }
    }
}
