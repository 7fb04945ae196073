//! Which hosts a provider that came over the API may name.

use embermesh_egress::{BadRule, Rules};

use super::embedding::{ProviderKind, Security};

/// Stands for the known hosts in a list.
const KNOWN: &str = "known";

impl ProviderKind {
    /// The hosts of its API, and of what gives tokens for it.
    const fn known_hosts(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["api.openai.com", "*.api.openai.com"],
            Self::AzureOpenAi => {
                &["*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com"]
            }
            Self::Bedrock => &[
                "bedrock-runtime.*.amazonaws.com",
                "bedrock-runtime-fips.*.amazonaws.com",
                "sts.amazonaws.com",
                "sts.*.amazonaws.com",
            ],
            Self::Vertex => {
                &["aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "oauth2.googleapis.com"]
            }
            Self::Gemini => &["generativelanguage.googleapis.com"],
            Self::Voyage => &["api.voyageai.com"],
            Self::Cohere => &["api.cohere.com", "api.cohere.ai"],
            Self::Local => &[],
        }
    }
}

impl Security {
    /// The hosts that a provider of `kind` may name when it came over the API.
    ///
    /// # Errors
    /// The first item of the operator's list that is no host.
    pub fn egress(&self, kind: ProviderKind) -> Result<Rules, BadRule> {
        let known = [KNOWN.to_owned()];
        let listed = self.provider_hosts.as_deref().unwrap_or(&known);
        let hosts = listed.iter().flat_map(|item| match item.as_str() {
            KNOWN => kind.known_hosts().to_vec(),
            host => vec![host],
        });
        Rules::parse(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_known_hosts_is_read_and_holds_for_its_kind_alone() {
        let security = Security::default();
        for (kind, url) in [
            (ProviderKind::OpenAi, "https://api.openai.com/v1"),
            (ProviderKind::AzureOpenAi, "https://r.openai.azure.com"),
            (ProviderKind::Bedrock, "https://bedrock-runtime.eu-west-1.amazonaws.com"),
            (ProviderKind::Vertex, "https://europe-west4-aiplatform.googleapis.com"),
            (ProviderKind::Gemini, "https://generativelanguage.googleapis.com"),
            (ProviderKind::Voyage, "https://api.voyageai.com"),
            (ProviderKind::Cohere, "https://api.cohere.com"),
        ] {
            assert!(security.egress(kind).unwrap().judge_text(url).is_ok(), "{kind:?}");
            assert!(security.egress(kind).unwrap().judge_text("https://api.example.com").is_err());
            let other =
                if kind == ProviderKind::Cohere { ProviderKind::OpenAi } else { ProviderKind::Cohere };
            assert!(security.egress(other).unwrap().judge_text(url).is_err(), "{other:?} {url}");
        }
    }

    #[test]
    fn a_list_replaces_the_known_hosts_unless_it_names_them() {
        let of = |items: &[&str]| Security {
            provider_hosts: Some(items.iter().map(|item| (*item).to_owned()).collect()),
            ..Security::default()
        };
        let own = "http://vllm.internal:8000";
        for (items, known, private) in [
            (&["vllm.internal:8000"][..], false, true),
            (&["known", "vllm.internal:8000"], true, true),
            (&[], false, false),
        ] {
            let rules = of(items).egress(ProviderKind::OpenAi).unwrap();
            assert_eq!(rules.judge_text("https://api.openai.com/v1").is_ok(), known, "{items:?}");
            assert_eq!(rules.judge_text(own).is_ok(), private, "{items:?}");
        }
        assert!(of(&["http://a"]).egress(ProviderKind::Local).is_err());
    }
}
