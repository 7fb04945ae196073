//! Where an entry sends, and where it may.

use embermesh_config::{Provider, ProviderKind};
use embermesh_egress::Rules;
use embermesh_proto::v1::ProviderEntry;
use serde::Deserialize;

use crate::BadProvider;

/// What a credential is bound to: whose it is, everything that decides where it is sent, and which of the entry's credentials it is.
pub fn destination(entry: &ProviderEntry, credential_version: i64) -> Vec<String> {
    // the length tells an absent one from an empty one
    let option = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("={text}"));
    vec![
        "embermesh provider credential".to_owned(),
        entry.name.clone(),
        entry.kind.clone(),
        option(&entry.base_url),
        option(&entry.region),
        option(&entry.sts_url),
        credential_version.to_string(),
    ]
}

/// Judges every address that an entry names or implies before anybody resolves one. Where a kind's own endpoint is used, whoever
/// connects judges it.
///
/// # Errors
/// The first address that may not be called, or a credential of the machine's own that would be needed.
pub fn judge(kind: ProviderKind, provider: &Provider, rules: &Rules) -> Result<(), BadProvider> {
    if let Some(region) = &provider.region {
        let named = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named || !(1..=40).contains(&region.len()) {
            return Err(BadProvider::Region);
        }
    }
    for (option, url) in [("base_url", &provider.base_url), ("sts_url", &provider.sts_url)] {
        if let Some(url) = url {
            address(option, url, rules)?;
        }
    }
    match kind {
        ProviderKind::Bedrock => {
            let region = provider.region.as_deref().ok_or(BadProvider::Missing("region"))?;
            if provider.access_key_id.is_none() {
                return Err(BadProvider::Missing("access_key_id"));
            }
            if provider.base_url.is_none() {
                address("region", &format!("https://bedrock-runtime.{region}.amazonaws.com"), rules)?;
            }
            if provider.assume_role_arn.is_some() && provider.sts_url.is_none() {
                address("region", &format!("https://sts.{region}.amazonaws.com"), rules)?;
            }
        }
        ProviderKind::Vertex => {
            if let Some(key) = &provider.service_account_key {
                #[derive(Deserialize)]
                struct KeyFile {
                    token_uri: String,
                }
                let file: KeyFile = serde_json::from_str(key.reveal()).map_err(|_| BadProvider::KeyFile)?;
                address("service_account_key", &file.token_uri, rules)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn address(option: &'static str, url: &str, rules: &Rules) -> Result<(), BadProvider> {
    rules.judge_text(url).map(drop).map_err(|refusal| BadProvider::Address { option, refusal })
}

#[cfg(test)]
mod tests {
    use embermesh_config::{Secret, Security};

    use super::*;

    fn refused(kind: ProviderKind, provider: &Provider) -> Option<&'static str> {
        let rules = Security::default().egress(kind).unwrap();
        judge(kind, provider, &rules).err().map(|bad| bad.option())
    }

    #[test]
    fn every_address_of_every_kind_is_judged() {
        let text = |text: &str| Some(text.to_owned());
        let base = |url: &str| Provider { base_url: text(url), ..Provider::default() };
        for kind in [
            ProviderKind::OpenAi,
            ProviderKind::AzureOpenAi,
            ProviderKind::Gemini,
            ProviderKind::Voyage,
            ProviderKind::Cohere,
        ] {
            assert_eq!(refused(kind, &base("https://evil.example/v1")), Some("base_url"), "{kind:?}");
        }
        assert_eq!(refused(ProviderKind::OpenAi, &base("https://api.openai.com/v1")), None);
        assert_eq!(refused(ProviderKind::OpenAi, &Provider::default()), None);

        let aws = Provider { region: text("eu-west-1"), access_key_id: text("AKIA"), ..Provider::default() };
        let role = Provider { assume_role_arn: text("arn:aws:iam::1:role/r"), ..aws.clone() };
        assert_eq!(refused(ProviderKind::Bedrock, &role), None);
        for (bad, option) in [
            (Provider { region: None, ..aws.clone() }, "region"),
            (Provider { region: text("x.evil.example/#"), ..aws.clone() }, "region"),
            (Provider { region: text("eu@evil"), ..aws.clone() }, "region"),
            (Provider { access_key_id: None, ..aws.clone() }, "access_key_id"),
            (Provider { sts_url: text("https://169.254.169.254"), ..role.clone() }, "sts_url"),
            (
                Provider { base_url: text("http://bedrock-runtime.eu-west-1.amazonaws.com"), ..aws.clone() },
                "base_url",
            ),
        ] {
            assert_eq!(refused(ProviderKind::Bedrock, &bad), Some(option), "{bad:?}");
        }
        let vertex = |uri: &str| Provider {
            service_account_key: Some(Secret::new(format!(r#"{{"token_uri": "{uri}"}}"#))),
            ..Provider::default()
        };
        assert_eq!(refused(ProviderKind::Vertex, &vertex("https://oauth2.googleapis.com/token")), None);
        assert_eq!(
            refused(ProviderKind::Vertex, &vertex("https://evil.example/token")),
            Some("service_account_key")
        );
    }
}
