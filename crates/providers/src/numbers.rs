//! Vectors as they stand in JSON, an array of numbers or packed f32 in base64; and counts, in whatever form they come.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess},
};

/// A vector as little-endian bytes, read from base64 or from an array of numbers.
#[derive(Debug)]
pub(crate) struct Vector(pub Bytes);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 or an array of numbers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vector, E> {
                self.visit_bytes(text.as_bytes())
            }

            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Vector, E> {
                let bytes = base64_simd::STANDARD.decode_to_vec(text).map_err(|_| E::custom("not base64"))?;
                if bytes.len() % 4 != 0 {
                    return Err(E::custom("not a vector of f32"));
                }
                Ok(Vector(bytes.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vector, A::Error> {
                let mut bytes = Vec::with_capacity(4 * numbers.size_hint().unwrap_or(1536));
                while let Some(number) = numbers.next_element::<f32>()? {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                Ok(Vector(bytes.into()))
            }
        }

        // as bytes: whether base64 is UTF-8 need not be asked; JSON's arrays are taken for bytes too
        from.deserialize_bytes(Visitor)
    }
}

/// A count that a provider reports; Cohere writes whole numbers as `12.0`. Anything that is no count reads as absent, and so does
/// zero, which some servers send for "not counted": an answer that was paid for is not thrown away because of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
                Ok(Count((number > 0).then_some(number)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(number).ok().filter(|number| *number > 0)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
                // beyond 2^53 an f64 is no longer a count
                let whole = number.fract() == 0.0 && (1.0..=9_007_199_254_740_992.0).contains(&number);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
                Ok(Count(whole.then_some(number as u64)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }

        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_is_read_or_absent() {
        for (json, expected) in [
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("1e3", Some(1000)),
            ("0", None),
            ("0.0", None),
            ("-3", None),
            ("1.5", None),
            ("1e300", None),
            ("null", None),
            ("true", None),
            (r#""12""#, None),
            ("[1,[2]]", None),
            (r#"{"a":{"b":1}}"#, None),
        ] {
            assert_eq!(serde_json::from_str::<Count>(json).unwrap().0, expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_give_the_same_bytes(numbers in proptest::collection::vec(-1.0_f32..1.0, 0..40)) {
            let bytes = to_le_bytes(&numbers);
            let floats: Vector = serde_json::from_str(&serde_json::to_string(&numbers).unwrap()).unwrap();
            let packed = format!("\"{}\"", base64_simd::STANDARD.encode_to_string(&bytes));
            let packed: Vector = serde_json::from_str(&packed).unwrap();
            prop_assert_eq!(&floats.0, &bytes);
            prop_assert_eq!(&packed.0, &bytes);
        }
    }
}
