//! The form of a sealed secret: its own version, the number of the key, the nonce, the ciphertext and its tag.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use secrecy::SecretString;

use crate::Keys;

const FORM: u8 = 1;
/// Form and key number.
const HEAD: usize = 5;

/// Why a sealed secret stays shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// It was sealed with a key that is not here.
    #[error("it was sealed with key {0}, which is not among the keys here")]
    Key(u32),
    /// It was changed, it belongs elsewhere, or another key goes by the number.
    #[error("it does not belong here, was changed, or another key bears the number of its own")]
    Foreign,
}

impl Keys {
    /// Seals `secret` with the newest key, bound to `place`. `None` when the machine has no randomness.
    pub fn seal(&self, secret: &str, place: &[&str]) -> Option<Vec<u8>> {
        let key = self.by_number.get(&self.newest)?;
        let head = head(self.newest);
        let mut body = secret.as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(bound(&head, place)), &mut body).ok()?;
        Some([&head[..], nonce.as_ref(), &body].concat())
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// See [`CannotOpen`].
    pub fn open(&self, sealed: &[u8], place: &[&str]) -> Result<SecretString, CannotOpen> {
        let (head, rest) = sealed.split_first_chunk::<HEAD>().ok_or(CannotOpen::Foreign)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen::Foreign)?;
        let [form, number @ ..] = *head;
        if form != FORM {
            return Err(CannotOpen::Foreign);
        }
        let number = u32::from_be_bytes(number);
        let key = self.by_number.get(&number).ok_or(CannotOpen::Key(number))?;
        let mut body = body.to_vec();
        let place = Aad::from(bound(head, place));
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), place, &mut body);
        let opened = opened.map_err(|_| CannotOpen::Foreign)?;
        str::from_utf8(opened).map(Into::into).map_err(|_| CannotOpen::Foreign)
    }
}

fn head(number: u32) -> [u8; HEAD] {
    let [a, b, c, d] = number.to_be_bytes();
    [FORM, a, b, c, d]
}

/// Parts with their lengths, so that no two places read the same.
fn bound(head: &[u8], place: &[&str]) -> Vec<u8> {
    let mut bound = head.to_vec();
    for part in place {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend(part.as_bytes());
    }
    bound
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const PLACE: [&str; 2] = ["openai", "https://api.openai.com"];

    fn keys(numbers: &[(u32, &str)]) -> Keys {
        let items = numbers.iter().map(|(number, byte)| format!("{number}:{}", byte.repeat(32)));
        Keys::parse(&items.collect::<Vec<_>>().join(" ")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_alone() {
        let keys = keys(&[(1, "ab")]);
        let sealed = keys.seal("sk-secret", &PLACE).unwrap();
        assert_eq!(keys.open(&sealed, &PLACE).unwrap().expose_secret(), "sk-secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(keys.seal("sk-secret", &PLACE).unwrap(), sealed);
        for place in
            [&["openai", "https://evil.example"][..], &["openai"], &["openaihttps", "://api.openai.com"], &[]]
        {
            assert_eq!(keys.open(&sealed, place).unwrap_err(), CannotOpen::Foreign, "{place:?}");
        }
    }

    #[test]
    fn any_flipped_bit_keeps_it_shut() {
        let keys = keys(&[(1, "ab")]);
        let sealed = keys.seal("sk-secret", &PLACE).unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(keys.open(&bad, &PLACE).is_err(), "byte {at}");
            assert!(keys.open(&sealed[..at], &PLACE).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_key_that_was_replaced_still_opens_what_it_sealed() {
        let old = keys(&[(1, "ab")]);
        let sealed = old.seal("sk-secret", &PLACE).unwrap();
        let both = keys(&[(1, "ab"), (2, "cd")]);
        assert_eq!(both.open(&sealed, &PLACE).unwrap().expose_secret(), "sk-secret");
        let resealed = both.seal("sk-secret", &PLACE).unwrap();
        assert_eq!(old.open(&resealed, &PLACE).unwrap_err(), CannotOpen::Key(2));
        assert_eq!(keys(&[(2, "cd")]).open(&sealed, &PLACE).unwrap_err(), CannotOpen::Key(1));
        assert_eq!(keys(&[(1, "cd")]).open(&sealed, &PLACE).unwrap_err(), CannotOpen::Foreign);
    }
}
