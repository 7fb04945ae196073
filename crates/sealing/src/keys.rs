//! Keys by number, so that they can be replaced: new secrets are sealed with the highest, the others still open what they sealed.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::{
    aead::{AES_256_GCM, RandomizedNonceKey},
    rand::{SecureRandom, SystemRandom},
};
use secrecy::SecretString;

const KEY_BYTES: usize = 32;

/// Every key that is known; at least one.
pub struct Keys {
    pub(crate) by_number: BTreeMap<u32, RandomizedNonceKey>,
    pub(crate) newest: u32,
}

/// Why a text holds no keys. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// None at all.
    #[error("there is no key in it, give one such as 1:<64 hexadecimal digits>")]
    Empty,
    /// One that is malformed; counted from 1.
    #[error("key {0} in it is not a number, a colon and 64 hexadecimal digits")]
    Form(usize),
    /// Two under one number.
    #[error("number {0} stands before two keys in it")]
    Twice(u32),
}

impl Keys {
    /// Reads `number:<64 hexadecimal digits>`, any number of them, separated by white space; lines that begin with `#` are passed
    /// over.
    ///
    /// # Errors
    /// See [`BadKeys`].
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut by_number = BTreeMap::new();
        let items =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        for (at, item) in items.enumerate() {
            let form = BadKeys::Form(at + 1);
            let (number, digits) = item.split_once(':').ok_or(form)?;
            let number = number.parse().map_err(|_| form)?;
            let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes(digits).ok_or(form)?).map_err(|_| form)?;
            if by_number.insert(number, key).is_some() {
                return Err(BadKeys::Twice(number));
            }
        }
        let newest = *by_number.last_key_value().ok_or(BadKeys::Empty)?.0;
        Ok(Self { by_number, newest })
    }

    /// The number of the key that secrets are sealed with now.
    pub const fn newest(&self) -> u32 {
        self.newest
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_number.keys()).finish()
    }
}

/// A new key under number 1, in the form that [`Keys::parse`] reads; `None` when the machine has no randomness.
pub fn generate() -> Option<SecretString> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).ok()?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("1:{digits}\n").into())
}

fn bytes(digits: &str) -> Option<[u8; KEY_BYTES]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    rest.is_empty().then(|| bytes.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_highest_number_is_the_newest_wherever_it_stands() {
        let (one, two) = ("ab".repeat(32), "CD".repeat(32));
        let keys = Keys::parse(&format!("# of spring\n  7:{two} \n 3:{one}\n")).unwrap();
        assert_eq!(keys.newest(), 7);
        assert_eq!(format!("{keys:?}"), "{3, 7}");
        assert_eq!(Keys::parse(&format!("3:{one} 4:{two}")).unwrap().newest(), 4);
        assert_eq!(Keys::parse(generate().unwrap().expose_secret()).unwrap().newest(), 1);
    }

    #[test]
    fn what_is_no_key_is_told_by_its_place_alone() {
        let good = "ab".repeat(32);
        let too_long = format!("1:{good}ab");
        for (text, why) in [
            ("", BadKeys::Empty),
            ("# nothing\n", BadKeys::Empty),
            ("secret", BadKeys::Form(1)),
            ("1:secret", BadKeys::Form(1)),
            (&*too_long, BadKeys::Form(1)),
            (&format!("1:{good} x:{good}"), BadKeys::Form(2)),
            (&format!("1:{good} -1:{good}"), BadKeys::Form(2)),
            (&format!("1:{good} 1:{good}"), BadKeys::Twice(1)),
            (&format!("1:{}", "é".repeat(32)), BadKeys::Form(1)),
        ] {
            let error = Keys::parse(text).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
