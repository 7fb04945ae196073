//! From the description of a provider to an account that can be called.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use embermesh_config::{Provider as Entry, ProviderKind, RateLimit, Security};
use embermesh_proto::internal::v1::SealedProvider;
use embermesh_provider_entry::{Credential as Secrets, configured, judge};
use embermesh_providers::Connector;
use embermesh_resilience::{Breaker, BreakerSettings};
use embermesh_sealing::Keys;

use crate::{account::Account, credential::Credential, deployments::seed, pace::Pace, spec::Spec};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the rate limit of an entry of this name.
pub(crate) type MakePace = Box<dyn Fn(&str, RateLimit) -> Pace + Send + Sync>;

/// Makes accounts.
pub(crate) struct AccountBuilder {
    pub connector: Connector,
    pub pace: MakePace,
    /// Which hosts an entry of the stream may name.
    pub security: Security,
    /// Open the credentials of such entries.
    pub keys: Option<Keys>,
}

impl fmt::Debug for AccountBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountBuilder").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Why there is no account, and what it would have been.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub reason: String,
    pub kind: Option<ProviderKind>,
    pub models: Option<Vec<String>>,
}

impl AccountBuilder {
    /// The account of this name; what does not depend on the change is taken over from `before`.
    pub fn build(
        &self,
        name: &str,
        spec: &Spec,
        before: Option<&Account>,
        breaker: BreakerSettings,
    ) -> Result<Account, Unusable> {
        let (kind, entry, connector) = match spec {
            Spec::File(entry) => {
                let kind = entry.kind.or_else(|| ProviderKind::named(name));
                let unknown = || unusable("give its kind", None, entry.models.clone());
                (kind.ok_or_else(unknown)?, Entry::clone(entry), self.connector.clone())
            }
            Spec::Streamed(provider) => self.streamed(provider)?,
        };
        let bad = |reason: &dyn fmt::Display| unusable(reason, Some(kind), entry.models.clone());
        let provider = connector.connect(kind, &entry).map_err(|reason| bad(&reason))?;
        let same_place = before.filter(|before| before.spec.is_same_place(spec));
        let same_rate = before.filter(|before| before.spec.has_same_rate(spec));
        let new_pace = || entry.rate_limit.map(|limit| (self.pace)(name, limit));
        Ok(Account {
            name: name.into(),
            kind,
            spec: spec.clone(),
            timeout: entry.timeout.map_or(DEFAULT_TIMEOUT, |span| span.0),
            provider,
            host: same_place
                .map_or_else(|| Arc::new(Breaker::new(breaker, seed(name))), |b| Arc::clone(&b.host)),
            credential: Credential::default(),
            pace: same_rate.map_or_else(new_pace, |before| before.pace.clone()),
            most_tokens_at_once: entry
                .rate_limit
                .and_then(|limit| limit.tokens_per_minute)
                .map_or(u64::MAX, |tokens| (tokens / 10).max(1)),
            models: entry.models.clone(),
            model_names: entry.model_names.clone(),
            deployments: Default::default(),
            retired: AtomicBool::new(false),
        })
    }

    /// The entry with its credential opened, and a connector that goes nowhere else.
    fn streamed(&self, provider: &SealedProvider) -> Result<(ProviderKind, Entry, Connector), Unusable> {
        let entry = provider.entry.clone().unwrap_or_default();
        let models = Some(entry.models.clone()).filter(|models| !models.is_empty());
        let bad =
            |reason: &dyn fmt::Display| unusable(reason, ProviderKind::named(&entry.kind), models.clone());
        if entry.credential_removed {
            return Err(bad(
                &"its credential was removed when its address was changed without giving it again; give it again",
            ));
        }
        if entry.has_credential && provider.sealed_credential.is_empty() {
            return Err(bad(&"its credential did not come with it"));
        }
        let secrets = Secrets::open(provider, self.keys.as_ref()).map_err(|error| bad(&error))?;
        let (kind, configured) = configured(&entry, &secrets).map_err(|error| bad(&error))?;
        let rules = self.security.egress(kind).map_err(|error| bad(&error))?;
        judge(kind, &configured, &rules).map_err(|error| bad(&error))?;
        let connector = self.connector.guarded(rules).map_err(|error| bad(&error))?;
        Ok((kind, configured, connector))
    }
}

fn unusable(reason: impl fmt::Display, kind: Option<ProviderKind>, models: Option<Vec<String>>) -> Unusable {
    Unusable { reason: reason.to_string(), kind, models }
}
