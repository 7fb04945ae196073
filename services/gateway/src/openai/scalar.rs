//! A member that should be simple, read without refusing anything, so that the refusal can name the member.

use std::{borrow::Cow, fmt};

use embermesh_errors::Error;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Whatever JSON holds, in as much as it matters here. Text is borrowed where it has no escapes.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Whole(u64),
    /// What it is instead.
    Other(&'static str),
}

impl<'a> Scalar<'a> {
    /// A text, or nothing when it is null.
    pub fn text(self, param: &str) -> Result<Option<Cow<'a, str>>, Error> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Whole(_) => Err(wrong(param, "a string", "a number")),
            Self::Other(found) => Err(wrong(param, "a string", found)),
        }
    }

    /// A whole number, or nothing when it is null.
    pub fn whole(self, param: &str) -> Result<Option<u32>, Error> {
        const EXPECTED: &str = "a whole number from 0 to 4294967295";
        match self {
            Self::Null => Ok(None),
            Self::Whole(number) => {
                u32::try_from(number).map(Some).map_err(|_| wrong(param, EXPECTED, "a larger one"))
            }
            Self::Text(_) => Err(wrong(param, EXPECTED, "a string")),
            Self::Other(found) => Err(wrong(param, EXPECTED, found)),
        }
    }
}

/// The refusal of a value of the wrong kind.
pub(super) fn wrong(param: &str, expected: &str, found: &str) -> Error {
    Error::invalid(param, format!("{param} must be {expected}, not {found}"))
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyScalar)
    }
}

struct AnyScalar;

impl<'de> Visitor<'de> for AnyScalar {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other("a negative number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other("a fraction or a number too large"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}
