//! From texts to keys.

use crate::{
    VectorKey,
    key::{space_tag, tenant_tag},
};

/// Makes the keys of one tenant, space and input type.
#[derive(Debug, Clone)]
pub struct KeyMaker {
    tenant: [u8; 8],
    space: [u8; 4],
    hasher: blake3::Hasher,
}

impl KeyMaker {
    /// `tenant` is its id; the hash is keyed by it, so that no tenant can probe for another's texts. `input_type` is empty for models
    /// that embed documents and queries alike.
    pub fn new(tenant: &[u8; 16], space: &str, input_type: &str) -> Self {
        let secret = blake3::derive_key("embermesh 2026 cache key of a tenant", tenant);
        let mut hasher = blake3::Hasher::new_keyed(&secret);
        for part in [space, input_type] {
            // lengths first: what is joined could move over the border
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self { tenant: tenant_tag(tenant), space: space_tag(space), hasher }
    }

    /// The key of a text, byte for byte: texts that only look alike have different keys.
    pub fn key(&self, text: &str) -> VectorKey {
        let hash = *self.hasher.clone().update(text.as_bytes()).finalize().as_bytes();
        VectorKey::of(self.tenant, self.space, hash)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Keys;

    type Parts = (u8, String, String, String);

    fn key_of((tenant, space, input_type, text): &Parts) -> VectorKey {
        KeyMaker::new(&[*tenant; 16], space, input_type).key(text)
    }

    /// Tenant, space, input type and text, over few characters, so that their borders are hard to see.
    fn parts() -> impl Strategy<Value = Parts> {
        (0_u8..2, "[a:]{1,2}@[12]{1,2}", "[a:]{0,2}", "[a:@12]{0,3}")
    }

    proptest! {
        // parts that were joined could move over the border: laravel/ai#826, #839; modelflow#135; redisvl's `text:model`
        #[test]
        fn keys_are_equal_only_when_every_part_is(one in parts(), other in parts()) {
            prop_assert_eq!(key_of(&one) == key_of(&other), one == other);
            prop_assert_eq!(key_of(&one).text() == key_of(&other).text(), one == other);
        }

        #[test]
        fn a_set_holds_the_keys_of_its_tenant_and_space_alone(one in parts(), other in parts()) {
            let (tenant, space) = (Keys::default().of_tenant(&[one.0; 16]), Keys::default().in_space(&one.1));
            let other_key = key_of(&other);
            prop_assert!(Keys::default().contain(&other_key));
            prop_assert_eq!(tenant.contain(&other_key), one.0 == other.0);
            prop_assert_eq!(space.contain(&other_key), one.1 == other.1);
            prop_assert_eq!(tenant.in_space(&one.1).contain(&other_key), (one.0, &one.1) == (other.0, &other.1));
        }
    }

    /// Texts, spaces and input types that careless keys have mixed up.
    #[test]
    fn nothing_in_the_corpus_of_collisions_shares_a_key() {
        let texts = [
            "",
            " ",
            "a",
            "A",
            "a ",
            " a",
            "a\n",
            "a\r\n",
            "a\u{0}",
            "\u{feff}a",
            "a\u{200b}",
            "a\u{ad}",
            // one letter as one character and as two, and characters that look like others
            "é",
            "e\u{301}",
            "Å",
            "\u{212b}",
            "A\u{30a}",
            "ﬁ",
            "fi",
            "①",
            "1",
            "ａ",
            "а",
            "ß",
            "ss",
            "İ",
            "i\u{307}",
            "K",
            "\u{212a}",
            // what joined parts would look like
            "query",
            "document",
            "query:a",
            "m@3",
            "m@3:a",
            "3a",
            "a|b",
            "a:b",
            "a,b",
            "[\"a\",\"b\"]",
            "a\u{1f}b",
            "ab",
            // the beginnings of two texts that go on differently
            "The quick brown fox jumps over the lazy dog, and then",
            "The quick brown fox jumps over the lazy dog, and so",
        ];
        let spaces = ["m@3", "m@33", "m@4", "mm@3", "m:a@3", "m+2@3", "m/a@3", "M@3"];
        let mut seen: HashMap<VectorKey, Parts> = HashMap::new();
        for tenant in 0..3 {
            for space in spaces {
                for input_type in ["", "query", "document", "search_query"] {
                    for text in texts {
                        let parts = (tenant, space.to_owned(), input_type.to_owned(), text.to_owned());
                        let before = seen.insert(key_of(&parts), parts.clone());
                        assert_eq!(before, None, "{parts:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn equal_parts_make_equal_keys_and_lone_ones_are_alone() {
        let parts = (1, "m@3".to_owned(), String::new(), "x".to_owned());
        assert_eq!(key_of(&parts), key_of(&parts));
        assert_ne!(VectorKey::lone([1; 16]), VectorKey::lone([2; 16]));
    }
}
