//! Names of what is kept. All begin with `embedding:`, so that an operator's scan finds them.

use std::fmt::Write as _;

use embermesh_vector_key::{LENGTH, VectorKey};

/// Hash tags of vectors: enough to spread over the slots of a cluster, few enough that a batch still makes groups.
const BUCKETS: u8 = 64;
/// What keys of vectors begin with; another form of key or value gets another number.
const VECTOR: &str = "embedding:v2:";
/// All keys of vectors.
pub(crate) const VECTORS: &str = "embedding:v2:*";

/// Keys of one bucket lie in one slot. By content and not by tenant: a large tenant would pin a slot.
pub(crate) fn bucket(key: &VectorKey) -> u8 {
    key.text()[0] % BUCKETS
}

/// Redis' key of a vector: bucket, tenant, space, text.
pub(crate) fn of_vector(key: &VectorKey) -> String {
    let mut name = String::with_capacity(VECTOR.len() + 5 + 2 * LENGTH + 2);
    // writing to a string cannot fail
    let _ok = write!(name, "{VECTOR}{{{:02x}}}", bucket(key));
    for part in [key.tenant(), key.space(), key.text()] {
        name.push(':');
        part.iter().for_each(|byte| {
            let _ok = write!(name, "{byte:02x}");
        });
    }
    name
}

/// The vector that a key of Redis is of, if it is one of [`of_vector`].
pub(crate) fn vector_of(name: &[u8]) -> Option<VectorKey> {
    let (_, rest) = name.strip_prefix(VECTOR.as_bytes())?.split_first_chunk::<5>()?;
    let mut digits = rest.iter().filter(|byte| **byte != b':').map(|byte| char::from(*byte).to_digit(16));
    let mut key = [0; LENGTH];
    for byte in &mut key {
        let value = 16 * digits.next()?? + digits.next()??;
        *byte = u8::try_from(value).ok()?;
    }
    let key = VectorKey(key);
    (of_vector(&key).as_bytes() == name).then_some(key)
}

/// From -1 to 1, the same for a key every time: spreads expiry without a source of randomness.
pub(crate) fn jitter(key: &VectorKey) -> f64 {
    let [.., high, low] = key.0;
    f64::from(u16::from_be_bytes([high, low])) / 32_767.5 - 1.0
}

/// Redis' key of a limit. Different names make different keys, whatever they are made of, and none holds a space or a hash tag.
pub(crate) fn limit(name: &str) -> String {
    let mut key = String::with_capacity(16 + name.len());
    key.push_str("embedding:limit:");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte) {
            key.push(char::from(byte));
        } else {
            let _ok = write!(key, "%{byte:02x}");
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printable_tagged_by_its_content_and_found_again() {
        let mut bytes = [0xab; LENGTH];
        (bytes[0], bytes[8], bytes[12]) = (1, 2, 0x41);
        let name = of_vector(&VectorKey(bytes));
        let (ab, rest) = ("ab", "ab".repeat(31));
        assert_eq!(name, format!("embedding:v2:{{01}}:01{}:02{}:41{rest}", ab.repeat(7), ab.repeat(3)));
        assert_eq!(vector_of(name.as_bytes()), Some(VectorKey(bytes)));
        for other in [
            String::new(),
            name.replace("v2", "v1"),
            name.replace("{01}", "{02}"),
            name.to_uppercase(),
            format!("{name}0"),
            name[..name.len() - 1].to_owned(),
            name.replace(":02", "02:"),
            limit("x"),
        ] {
            assert_eq!(vector_of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn jitter_covers_its_range() {
        let with = |end: [u8; 2]| {
            let mut bytes = [7; LENGTH];
            bytes[LENGTH - 2..].copy_from_slice(&end);
            jitter(&VectorKey(bytes))
        };
        assert_eq!((with([0, 0]), with([0xff, 0xff])), (-1.0, 1.0));
        assert!(with([0x80, 0]).abs() < 0.001);
    }

    #[test]
    fn names_of_limits_stay_apart() {
        assert_eq!(limit("openai:text-3@1"), "embedding:limit:openai:text-3@1");
        assert_eq!(limit("a b{c}%20"), "embedding:limit:a%20b%7bc%7d%2520");
        assert_ne!(limit("a b"), limit("a%20b"));
    }
}
