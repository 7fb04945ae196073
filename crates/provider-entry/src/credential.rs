//! The secret part of an entry, sealed as one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use embermesh_config::Secret;
use embermesh_proto::{internal::v1::SealedProvider, v1::ProviderEntry};
use embermesh_sealing::{CannotOpen, Keys};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::destination;

/// Every secret of an entry; which ones are there depends on its kind.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credential {
    /// Of most kinds.
    pub api_key: Option<String>,
    /// Bedrock.
    pub secret_access_key: Option<String>,
    /// Bedrock, with the one above.
    pub session_token: Option<String>,
    /// Vertex: the key file itself.
    pub service_account_key: Option<String>,
}

/// Why a credential stays sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key at all.
    #[error("its credential is sealed and there is no key here, set embedding.security.credential_keys_file")]
    NoKeys,
    /// It does not open.
    #[error("its credential cannot be opened: {0}")]
    Shut(#[from] CannotOpen),
    /// Something else was sealed.
    #[error("its credential is of a form that this version does not know")]
    Form,
}

impl Credential {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first eight hexadecimal digits of the SHA-256 of the main secret, by which its owner knows it again.
    pub fn fingerprint(&self) -> Option<String> {
        let Self { api_key, secret_access_key, session_token: _, service_account_key } = self;
        let main = api_key.as_ref().or(secret_access_key.as_ref()).or(service_account_key.as_ref())?;
        let digest = digest(&SHA256, main.as_bytes());
        Some(digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Seals it for the place that `entry` names. `None` when the machine has no randomness.
    pub fn seal(&self, keys: &Keys, entry: &ProviderEntry, version: i64) -> Option<Vec<u8>> {
        let text = serde_json::to_string(self).ok()?;
        keys.seal(&text, &refs(&destination(entry, version)))
    }

    /// Opens what was sealed for the place that the entry names; an entry without a credential has an empty one.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(sealed: &SealedProvider, keys: Option<&Keys>) -> Result<Self, SealError> {
        let Some(entry) = sealed.entry.as_ref().filter(|_| !sealed.sealed_credential.is_empty()) else {
            return Ok(Self::default());
        };
        let keys = keys.ok_or(SealError::NoKeys)?;
        let place = destination(entry, sealed.credential_version);
        let text = keys.open(&sealed.sealed_credential, &refs(&place))?;
        serde_json::from_str(text.expose_secret()).map_err(|_| SealError::Form)
    }

    pub(crate) fn secret(text: Option<&String>) -> Option<Secret> {
        text.map(|text| Secret::new(text.as_str()))
    }
}

fn refs(place: &[String]) -> Vec<&str> {
    place.iter().map(String::as_str).collect()
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> ProviderEntry {
        ProviderEntry {
            name: "one".to_owned(),
            kind: "openai".to_owned(),
            base_url: Some("https://api.openai.com/v1".to_owned()),
            ..ProviderEntry::default()
        }
    }

    #[test]
    fn a_credential_opens_for_its_own_entry_and_version_alone() {
        let keys = Keys::parse(&format!("1:{}", "ab".repeat(32))).unwrap();
        let credential = Credential { api_key: Some("sk-secret".to_owned()), ..Credential::default() };
        let sealed = |entry: ProviderEntry, credential_version| SealedProvider {
            entry: Some(entry),
            sealed_credential: credential.seal(&keys, &self::entry(), 3).unwrap().into(),
            credential_version,
        };
        assert_eq!(Credential::open(&sealed(entry(), 3), Some(&keys)), Ok(credential.clone()));
        // what does not decide where it is sent may change
        let renamed =
            ProviderEntry { timeout: Some("5s".to_owned()), models: vec!["m".to_owned()], ..entry() };
        assert!(Credential::open(&sealed(renamed, 3), Some(&keys)).is_ok());
        let text = |text: &str| Some(text.to_owned());
        for (other, version) in [
            (entry(), 4),
            (ProviderEntry { name: "two".to_owned(), ..entry() }, 3),
            (ProviderEntry { kind: "cohere".to_owned(), ..entry() }, 3),
            (ProviderEntry { base_url: text("https://evil.example/v1"), ..entry() }, 3),
            (ProviderEntry { base_url: None, ..entry() }, 3),
            (ProviderEntry { region: text("eu"), ..entry() }, 3),
            (ProviderEntry { sts_url: text("https://evil.example"), ..entry() }, 3),
        ] {
            let opened = Credential::open(&sealed(other.clone(), version), Some(&keys));
            assert_eq!(opened, Err(SealError::Shut(CannotOpen::Foreign)), "{other:?} {version}");
        }
        assert_eq!(Credential::open(&sealed(entry(), 3), None), Err(SealError::NoKeys));
        assert_eq!(Credential::open(&SealedProvider::default(), None), Ok(Credential::default()));
    }

    #[test]
    fn a_fingerprint_is_what_its_owner_computes() {
        let credential = Credential { api_key: Some("abc".to_owned()), ..Credential::default() };
        // printf abc | sha256sum
        assert_eq!(credential.fingerprint().as_deref(), Some("ba7816bf"));
        assert_eq!(format!("{credential:?}"), "***");
        assert_eq!(Credential::default().fingerprint(), None);
    }
}
