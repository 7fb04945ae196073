//! From the contract to an entry as the configuration file would have it.

use embermesh_config::{Provider, ProviderKind, RateLimit, Span};
use embermesh_egress::Refusal;
use embermesh_proto::v1::ProviderEntry;

use crate::Credential;

/// Why an entry cannot be used. Names the option, and of its value the host at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    /// No such API is known.
    #[error("the kind is none of openai, azure_openai, bedrock, vertex, gemini, voyage, cohere")]
    Kind,
    /// It is configured with its weights.
    #[error("the local model is configured in the file, by embedding.router.local_model_dir")]
    Local,
    /// An option that the kind has no use for.
    #[error("{kind} has no use for {option}")]
    Useless {
        /// The entry's kind.
        kind: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The kind cannot do without it.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not a length of time.
    #[error("timeout is no length of time such as 30s, from 1s to 10m")]
    Timeout,
    /// Would stand in a host's name.
    #[error("region is no name of a region")]
    Region,
    /// An address that may not be called.
    #[error("{option}: {refusal}")]
    Address {
        /// The option that it comes from.
        option: &'static str,
        /// Why not.
        refusal: Refusal,
    },
    /// Not the file that Google Cloud gives.
    #[error("service_account_key is not the JSON key file of a service account")]
    KeyFile,
}

impl BadProvider {
    /// The option that is at fault.
    pub const fn option(&self) -> &'static str {
        match self {
            Self::Kind | Self::Local => "kind",
            Self::Useless { option, .. } | Self::Missing(option) | Self::Address { option, .. } => option,
            Self::Timeout => "timeout",
            Self::Region => "region",
            Self::KeyFile => "service_account_key",
        }
    }
}

/// The kind and the entry, with its secrets in their places. Of what a file may say beside, nothing: no path of the machine's and no
/// credential of the machine's own is for whoever holds a key of the API.
///
/// # Errors
/// See [`BadProvider`]; addresses are judged by [`crate::judge`].
pub fn configured(
    entry: &ProviderEntry,
    credential: &Credential,
) -> Result<(ProviderKind, Provider), BadProvider> {
    let kind = ProviderKind::named(&entry.kind).ok_or(BadProvider::Kind)?;
    if kind == ProviderKind::Local {
        return Err(BadProvider::Local);
    }
    let timeout = entry.timeout.as_deref().map(span).transpose()?;
    let secret = |text: &Option<String>| Credential::secret(text.as_ref());
    let provider = Provider {
        kind: Some(kind),
        enabled: Some(entry.enabled),
        api_key: secret(&credential.api_key),
        base_url: entry.base_url.clone(),
        models: Some(entry.models.clone()).filter(|models| !models.is_empty()),
        model_names: entry.model_names.clone(),
        region: entry.region.clone(),
        api_version: entry.api_version.clone(),
        project: entry.project.clone(),
        access_key_id: entry.access_key_id.clone(),
        secret_access_key: secret(&credential.secret_access_key),
        session_token: secret(&credential.session_token),
        service_account_key: secret(&credential.service_account_key),
        assume_role_arn: entry.assume_role_arn.clone(),
        external_id: entry.external_id.clone(),
        sts_url: entry.sts_url.clone(),
        timeout,
        rate_limit: entry.rate_limit.map(|limit| RateLimit {
            requests_per_minute: limit.requests_per_minute,
            tokens_per_minute: limit.tokens_per_minute,
        }),
        ..Provider::default()
    };
    if let Some(option) = provider.useless_option(kind) {
        return Err(BadProvider::Useless { kind: kind.as_str(), option });
    }
    Ok((kind, provider))
}

fn span(text: &str) -> Result<Span, BadProvider> {
    let span: Span = serde_json::from_value(text.into()).map_err(|_| BadProvider::Timeout)?;
    if (1..=600).contains(&span.0.as_secs()) { Ok(span) } else { Err(BadProvider::Timeout) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str) -> ProviderEntry {
        ProviderEntry { name: "one".to_owned(), kind: kind.to_owned(), ..ProviderEntry::default() }
    }

    #[test]
    fn an_option_without_a_use_is_named_and_secrets_are_options_too() {
        let key = Credential { api_key: Some("sk".to_owned()), ..Credential::default() };
        let refused =
            |entry: ProviderEntry, credential: &Credential| configured(&entry, credential).unwrap_err();
        let region = ProviderEntry { region: Some("eu".to_owned()), ..of("openai") };
        assert_eq!(refused(region, &key), BadProvider::Useless { kind: "openai", option: "region" });
        assert_eq!(refused(of("vertex"), &key), BadProvider::Useless { kind: "vertex", option: "api_key" });
        assert_eq!(refused(of("local"), &key), BadProvider::Local);
        assert_eq!(refused(of("other"), &key), BadProvider::Kind);
        for timeout in ["", "0s", "11m", "soon", "500ms"] {
            let entry = ProviderEntry { timeout: Some(timeout.to_owned()), ..of("openai") };
            assert_eq!(refused(entry, &key), BadProvider::Timeout, "{timeout}");
        }
        let entry =
            ProviderEntry { timeout: Some("45s".to_owned()), models: vec!["m".to_owned()], ..of("openai") };
        let (kind, provider) = configured(&entry, &key).unwrap();
        assert_eq!((kind, provider.timeout), (ProviderKind::OpenAi, Some(Span::seconds(45))));
        assert_eq!(provider.api_key.unwrap().reveal(), "sk");
        assert_eq!(configured(&of("openai"), &key).unwrap().1.models, None);
    }
}
