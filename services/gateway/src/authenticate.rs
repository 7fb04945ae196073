//! Who is calling: from the key that a request shows to the principal behind it, out of memory.

use embermesh_auth::{Principal, ShownKey};
use embermesh_errors::{Code, Error};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_types::{Clock, TenantId};
use http::{HeaderMap, header::AUTHORIZATION};

use crate::{api_calls, key_use::KeyUse};

/// The header of its own; `Authorization: Bearer` is the other way.
pub(crate) const API_KEY: &str = "x-api-key";

/// Checks keys against the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    subscription: Subscription,
    clock: Clock,
    uses: KeyUse,
}

impl Authenticator {
    /// Keys are those of `subscription`; `clock` ends them, and `uses` notes which are used.
    pub fn new(subscription: Subscription, clock: Clock, uses: KeyUse) -> Self {
        Self { subscription, clock, uses }
    }

    /// The principal of the key in the headers. Why a key is refused is not told: that would help to guess one.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Error> {
        let Some(snapshot) = self.subscription.known() else {
            return Err(Error::unavailable("the gateway does not know the keys yet, try again"));
        };
        let principal = shown(headers).and_then(|text| self.principal(text, &snapshot)).ok_or_else(|| {
            let message = "no valid API key, send one in the header X-API-Key or as Authorization: Bearer";
            Error::new(Code::Unauthenticated, message).with_param("X-API-Key")
        })?;
        if snapshot.tenant(principal.tenant).is_some_and(|tenant| tenant.suspended) {
            let message = "the tenant is suspended, ask the operator of this installation";
            return Err(Error::new(Code::Forbidden, message).with_detail("tenant", "suspended"));
        }
        self.uses.note(&principal);
        Ok(principal)
    }

    /// Whether a tenant is the operator's, whose admin keys may do what concerns everybody.
    pub fn is_operator(&self, tenant: TenantId) -> bool {
        self.subscription.current().is_operator(tenant)
    }

    fn principal(&self, text: &str, snapshot: &Snapshot) -> Option<Principal> {
        let shown = ShownKey::parse(text).ok()?;
        let (id, hash) = (shown.id().ok()?, shown.hash());
        // an unknown id is held against somebody else's record, and nothing else of a record is looked at before the key is proved:
        // how long a refusal takes does not tell whether there is such a key, or had been. The hash is of the whole key, so a match
        // is one of the id, too
        let record = snapshot.key_or_neighbour(&id)?;
        if record.hash != hash {
            return None;
        }
        let closed = snapshot.tenant(record.principal.tenant).is_some_and(|tenant| tenant.closed);
        let alive = !record.revoked && record.expires_at.is_none_or(|end| self.clock.now() < end);
        (alive && !closed).then(|| {
            api_calls::is_of(record);
            record.principal.clone()
        })
    }
}

/// The text shown as a key. A key header that is there decides alone, and there may be one only, so that nobody is taken for
/// somebody else by a second one.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let own = headers.contains_key(API_KEY);
    let mut values = headers.get_all(if own { API_KEY } else { AUTHORIZATION.as_str() }).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    if own {
        return Some(text);
    }
    let (scheme, key) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;
