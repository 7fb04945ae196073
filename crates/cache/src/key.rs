//! Names of what is kept. All begin with `embedding:`, so that an operator's scan finds them.

use std::fmt::Write as _;

/// Hash tags of vectors: enough to spread over the slots of a cluster, few enough that a batch still makes groups.
const BUCKETS: u8 = 64;

/// The key of a vector: a hash over everything that makes it what it is, tenant included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VectorKey(pub [u8; 32]);

impl VectorKey {
    /// Keys of one bucket lie in one slot. By content and not by tenant: a large tenant would pin a slot.
    pub(crate) const fn bucket(&self) -> u8 {
        self.0[0] % BUCKETS
    }

    /// Redis' key.
    pub(crate) fn redis(&self) -> String {
        let mut key = String::with_capacity(17 + 64 + 5);
        // writing to a string cannot fail
        let _ok = write!(key, "embedding:v1:{{{:02x}}}:", self.bucket());
        for byte in self.0 {
            let _ok = write!(key, "{byte:02x}");
        }
        key
    }

    /// From -1 to 1, the same for a key every time: spreads expiry without a source of randomness.
    pub(crate) fn jitter(&self) -> f64 {
        let [.., high, low] = self.0;
        f64::from(u16::from_be_bytes([high, low])) / 32_767.5 - 1.0
    }
}

impl From<[u8; 32]> for VectorKey {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
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
    fn a_key_is_printable_and_tagged_by_its_content() {
        let mut hash = [0xab; 32];
        hash[0] = 0x41;
        let key = VectorKey(hash).redis();
        assert_eq!(key, format!("embedding:v1:{{01}}:41{}", "ab".repeat(31)));
    }

    #[test]
    fn jitter_covers_its_range() {
        let with = |end: [u8; 2]| {
            let mut hash = [7; 32];
            hash[30..].copy_from_slice(&end);
            VectorKey(hash).jitter()
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
