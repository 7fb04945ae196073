//! The format of an API key: `emb_<environment>_<id:12>_<secret:32>_<crc:6>`, the last three base62.
//!
//! The id finds the record, the secret (190 bits) proves the key, and the checksum lets a mistyped key be refused, and a
//! leaked one be recognised by scanners, without a lookup. At this entropy a plain hash is as good as a slow one.

use std::{fmt, sync::LazyLock};

use blake3::Hasher;
use embermesh_types::KeyId;
use rand::{Rng, RngExt};
use secrecy::{ExposeSecret, SecretString};

const ID: usize = 12;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not an API key. Never says more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key of Embermesh")]
pub struct KeyError;

/// A whole API key. Its text shows up nowhere but where [`ApiKey::reveal`] is called.
#[derive(Debug, Clone)]
pub struct ApiKey {
    id: KeyId,
    text: SecretString,
}

impl ApiKey {
    /// A new key for `environment` (`live`, `test`: lowercase letters).
    pub fn generate(environment: &str, rng: &mut impl Rng) -> Self {
        let mut pick = |n: usize| -> String {
            (0..n).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
        };
        let id = pick(ID);
        let body = format!("emb_{environment}_{id}_{}", pick(SECRET));
        let sum: String = checksum(&body).map(char::from).iter().collect();
        let text = format!("{body}_{sum}");
        let id = id.parse().unwrap_or_else(|_| unreachable!("base62 is a key id"));
        Self { id, text: text.into() }
    }

    /// Checks the form and the checksum of a key that is to be kept.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let id = ShownKey::parse(text)?.id()?;
        Ok(Self { id, text: text.to_owned().into() })
    }

    /// The public part.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What is stored instead of the key.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.reveal())
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        self.text.expose_secret()
    }
}

/// What a client sent, of the form of a key and with its checksum. Borrows the text: nothing of a secret is copied on the way of a
/// request, and nothing has to be wiped after it.
#[derive(Clone, Copy)]
pub struct ShownKey<'a> {
    id: &'a str,
    text: &'a str,
}

impl<'a> ShownKey<'a> {
    /// Checks form and checksum; whoever knows the form can make these up, so they prove nothing.
    pub fn parse(text: &'a str) -> Result<Self, KeyError> {
        let (body, sum) = text.rsplit_once('_').ok_or(KeyError)?;
        let mut parts = body.split('_');
        let mut part = || parts.next().ok_or(KeyError);
        let (prefix, environment, id, secret) = (part()?, part()?, part()?, part()?);
        let named =
            (1..=16).contains(&environment.len()) && environment.bytes().all(|b| b.is_ascii_lowercase());
        let base62 =
            |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let formed =
            prefix == "emb" && named && base62(id, ID) && base62(secret, SECRET) && parts.next().is_none();
        if !formed || checksum(body) != sum.as_bytes() {
            return Err(KeyError);
        }
        Ok(Self { id, text })
    }

    /// The public part, which finds the record.
    pub fn id(&self) -> Result<KeyId, KeyError> {
        self.id.parse().map_err(|_| KeyError)
    }

    /// What the stored hash is compared with.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.text)
    }
}

impl fmt::Debug for ShownKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The hash of a key; compares in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(blake3::Hash);

impl KeyHash {
    fn of(text: &str) -> Self {
        // the first half of every hash is the same
        static CONTEXT: LazyLock<Hasher> = LazyLock::new(|| Hasher::new_derive_key("embermesh 2026 api key"));
        Self(CONTEXT.clone().update(text.as_bytes()).finalize())
    }

    /// For storing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// From storage; 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        blake3::Hash::from_slice(bytes).map(Self).map_err(|_| KeyError)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

fn checksum(body: &str) -> [u8; CHECKSUM] {
    let mut rest = usize::try_from(crc32fast::hash(body.as_bytes())).unwrap_or_default();
    let mut digits = [0_u8; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> ApiKey {
        ApiKey::generate("live", &mut rand::rng())
    }

    #[test]
    fn a_generated_key_is_a_key() {
        let key = key();
        let read = ApiKey::parse(key.reveal()).unwrap();
        assert_eq!(read.id(), key.id());
        assert_eq!(read.hash(), key.hash());
        assert_eq!(KeyHash::from_slice(key.hash().as_bytes()), Ok(key.hash()));
        let shown = ShownKey::parse(key.reveal()).unwrap();
        assert_eq!((shown.id(), shown.hash()), (Ok(key.id().clone()), key.hash()));
        assert_ne!(key.hash(), self::key().hash());
    }

    #[test]
    fn printing_a_key_shows_no_secret() {
        let key = key();
        let shown = ShownKey::parse(key.reveal()).unwrap();
        let printed = format!("{key:?} {shown:?} {:?}", key.hash());
        assert!(!printed.contains(&key.reveal()[20..40]), "{printed}");
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_refused(at in 0_usize..61, with in 0_usize..62) {
            let key = key();
            let mut text = key.reveal().as_bytes().to_vec();
            let other = ALPHABET[with];
            prop_assume!(text[at] != other);
            text[at] = other;
            prop_assert!(ApiKey::parse(std::str::from_utf8(&text).unwrap()).is_err());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            let _ = ApiKey::parse(&text);
        }
    }
}
