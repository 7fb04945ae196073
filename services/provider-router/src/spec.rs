//! What an account is made from, and what two of them have in common.

use std::sync::Arc;

use embermesh_config::Provider as Entry;
use embermesh_proto::{internal::v1::SealedProvider, v1::ProviderEntry};
use embermesh_provider_entry::destination;

/// Where the description of an account comes from.
#[derive(Debug, Clone)]
pub(crate) enum Spec {
    /// The configuration file, which does not change while the process runs.
    File(Arc<Entry>),
    /// Admin's stream.
    Streamed(Arc<SealedProvider>),
}

impl Spec {
    fn entry(&self) -> Option<&ProviderEntry> {
        match self {
            Self::File(_) => None,
            Self::Streamed(provider) => provider.entry.as_ref(),
        }
    }

    /// Whether they describe the very same.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(two)) => Arc::ptr_eq(one, two),
            (Self::Streamed(one), Self::Streamed(two)) => {
                (&one.sealed_credential, one.credential_version, described(one.entry.as_ref()))
                    == (&two.sealed_credential, two.credential_version, described(two.entry.as_ref()))
            }
            _ => false,
        }
    }

    /// Whether what is known of one's deployments holds for the other's: the same place, the same API and the same models there,
    /// whatever the credential.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self.entry(), other.entry()) {
            (Some(one), Some(two)) => {
                destination(one, 0) == destination(two, 0)
                    && (&one.project, &one.api_version, &one.model_names)
                        == (&two.project, &two.api_version, &two.model_names)
            }
            _ => self.is(other),
        }
    }

    /// Whether both have the same rate limit.
    pub fn has_same_rate(&self, other: &Self) -> bool {
        match (self.entry(), other.entry()) {
            (Some(one), Some(two)) => one.rate_limit == two.rate_limit,
            _ => self.is(other),
        }
    }
}

/// Everything but when it was changed.
fn described(entry: Option<&ProviderEntry>) -> Option<ProviderEntry> {
    let entry = entry?.clone();
    Some(ProviderEntry { version: 0, created_at: None, updated_at: None, ..entry })
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::ProviderRateLimit;

    use super::*;

    fn spec(change: impl Fn(&mut SealedProvider, &mut ProviderEntry)) -> Spec {
        let mut entry = ProviderEntry {
            name: "one".to_owned(),
            kind: "openai".to_owned(),
            base_url: Some("https://a.example".to_owned()),
            ..ProviderEntry::default()
        };
        let mut provider = SealedProvider { sealed_credential: vec![1].into(), ..SealedProvider::default() };
        change(&mut provider, &mut entry);
        provider.entry = Some(entry);
        Spec::Streamed(Arc::new(provider))
    }

    #[test]
    fn another_credential_is_another_account_at_the_same_place_and_another_url_is_not() {
        let held = spec(|_, _| {});
        assert!(held.is(&spec(|_, entry| entry.version = 9)));
        for (other, same_place, same_rate) in [
            (spec(|provider, _| provider.sealed_credential = vec![2].into()), true, true),
            (spec(|_, entry| entry.timeout = Some("9s".to_owned())), true, true),
            (spec(|_, entry| entry.rate_limit = Some(ProviderRateLimit::default())), true, false),
            (spec(|_, entry| entry.base_url = Some("https://b.example".to_owned())), false, true),
            (spec(|_, entry| entry.kind = "cohere".to_owned()), false, true),
            (spec(|_, entry| entry.api_version = Some("1".to_owned())), false, true),
            (spec(|_, entry| drop(entry.model_names.insert("m".to_owned(), "n".to_owned()))), false, true),
        ] {
            assert!(!held.is(&other), "{other:?}");
            assert_eq!(
                (held.is_same_place(&other), held.has_same_rate(&other)),
                (same_place, same_rate),
                "{other:?}"
            );
        }
        let file = Spec::File(Arc::default());
        assert!(file.is(&file.clone()) && file.is_same_place(&file.clone()) && !file.is_same_place(&held));
    }
}
