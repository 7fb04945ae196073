//! Which API keys may be made, and what may be asked to change of one.

use std::time::SystemTime;

use embermesh_auth::{Scope, Scopes};
use embermesh_errors::Error;
use embermesh_proto::v1::{CreateKeyRequest, Key, UpdateKeyRequest};
use embermesh_types::AgentId;

use super::{names::check_label, rotation::last_time};

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
        Ok(Self { name: request.name, scopes, agent, expires_at: end(request.expires_at, now)? })
    }
}

/// What is to change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyUpdate {
    pub(crate) name: Option<String>,
    pub(crate) expires_at: Option<SystemTime>,
}

impl KeyUpdate {
    /// Checks a request made at `now`, but for what depends on the key.
    pub(crate) fn parse(request: UpdateKeyRequest, now: SystemTime) -> Result<Self, Error> {
        if let Some(name) = &request.name {
            check_label("name", name, 100)?;
        }
        Ok(Self { name: request.name, expires_at: end(request.expires_at, now)? })
    }

    /// Whether `key` is already so.
    pub(crate) fn changes_nothing_of(&self, key: &Key) -> bool {
        let same_end = |end: &SystemTime| {
            let held = key.expires_at.and_then(|time| SystemTime::try_from(time).ok());
            held == Some(*end)
        };
        self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.expires_at.as_ref().is_none_or(same_end)
    }
}

fn end(time: Option<prost_types::Timestamp>, now: SystemTime) -> Result<Option<SystemTime>, Error> {
    let Some(time) = time else { return Ok(None) };
    let time = SystemTime::try_from(time).ok().filter(|time| *time > now && *time <= last_time());
    let message = "the time must lie in the future, before the year 10000";
    time.map(Some).ok_or_else(|| Error::invalid("expires_at", message))
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
        for seconds in [999, 1_000, i64::MIN, 253_402_300_800, i64::MAX] {
            let expires_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
            assert_eq!(refused(CreateKeyRequest { expires_at, ..request() }).as_deref(), Some("expires_at"));
        }
    }

    #[test]
    fn an_update_says_what_is_to_change_and_nothing_else() {
        let parse = |name: Option<&str>, seconds: Option<i64>| {
            let expires_at = seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
            let request = UpdateKeyRequest { id: String::new(), name: name.map(str::to_owned), expires_at };
            KeyUpdate::parse(request, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000))
        };
        let end = prost_types::Timestamp { seconds: 2_000, nanos: 0 };
        let key = Key { name: "ci".to_owned(), expires_at: Some(end), ..Key::default() };
        for same in [(None, None), (Some("ci"), None), (None, Some(2_000)), (Some("ci"), Some(2_000))] {
            assert!(parse(same.0, same.1).unwrap().changes_nothing_of(&key), "{same:?}");
        }
        for other in [(Some("cd"), None), (None, Some(2_001)), (Some("ci"), Some(1_001))] {
            assert!(!parse(other.0, other.1).unwrap().changes_nothing_of(&key), "{other:?}");
        }
        assert_eq!(parse(Some(" "), None).unwrap_err().param.as_deref(), Some("name"));
        assert_eq!(parse(None, Some(1_000)).unwrap_err().param.as_deref(), Some("expires_at"));
    }
}
