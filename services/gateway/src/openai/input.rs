//! `input` in its four forms: a text, texts, a token array, token arrays.

use std::{borrow::Cow, fmt};

use embermesh_errors::{Code, Error};
use embermesh_tokens::{Cl100kBase, DecodeError, MAX_TEXT_BYTES};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::scalar::wrong;
use crate::embeddings::{EmbeddingLimits, MAX_BATCH, check_total};

const EXPECTED: &str = "a string, an array of strings, a token array or an array of token arrays";
/// Every token stands for a byte or more; what it stands for at most is looked at where it is read.
const MAX_TOKENS: usize = MAX_TEXT_BYTES;

/// What is to be embedded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input<'a> {
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    Tokens(Vec<u32>),
    TokenArrays(Vec<Vec<u32>>),
}

impl<'a> Input<'a> {
    /// Whether its entries have an index.
    pub const fn is_array(&self) -> bool {
        matches!(self, Self::Texts(_) | Self::TokenArrays(_))
    }

    /// The texts. SDKs make token arrays with `cl100k_base` whatever the model is, so that is what they are read with; no further than
    /// the limits, because a token of a few bytes in the body may stand for many.
    pub fn into_texts(self, limits: &EmbeddingLimits) -> Result<Vec<Cow<'a, str>>, Error> {
        match self {
            Self::Text(text) => Ok(vec![text]),
            Self::Texts(texts) => Ok(texts),
            Self::Tokens(tokens) => Ok(vec![decode("input", &tokens, limits.max_text_bytes)?]),
            Self::TokenArrays(arrays) => {
                let mut texts = Vec::with_capacity(arrays.len());
                let mut bytes = 0;
                for (index, tokens) in arrays.iter().enumerate() {
                    let text = decode(&format!("input[{index}]"), tokens, limits.max_text_bytes)?;
                    bytes += text.len();
                    check_total(bytes, limits.max_total_bytes)?;
                    texts.push(text);
                }
                Ok(texts)
            }
        }
    }
}

fn decode<'a>(param: &str, tokens: &[u32], max_bytes: usize) -> Result<Cow<'a, str>, Error> {
    if tokens.is_empty() {
        return Err(Error::invalid(param, format!("{param} must not be empty")));
    }
    Cl100kBase.decode_at_most(tokens, max_bytes).map(Cow::Owned).map_err(|error| {
        let refused = Error::invalid(param, error.to_string());
        match error {
            DecodeError::TooLong { .. } => {
                let message =
                    format!("{param} has more than {max_bytes} bytes, which is all that is taken; split it");
                Error::new(Code::InputTooLong, message).with_param(param).with_detail("max_bytes", max_bytes)
            }
            DecodeError::Unknown { index, .. }
            | DecodeError::Control { index, .. }
            | DecodeError::NotUtf8 { index } => refused.with_detail("index", index),
            DecodeError::Failed(_) => refused,
        }
    })
}

/// The member as it came: an input, or what is wrong with it.
#[derive(Debug)]
pub(super) struct InputField<'a>(pub Result<Input<'a>, Error>);

impl<'de> Deserialize<'de> for InputField<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        AnyValue { is_inside: false }.deserialize(from).map(|value| {
            Self(match value {
                Value::Text(text) => Ok(Input::Text(text)),
                Value::Array(Array::Texts(texts)) => texts.kept("a string").map(Input::Texts),
                Value::Array(Array::Tokens(tokens)) => tokens.kept("a token").map(Input::Tokens),
                Value::Array(Array::Arrays(arrays)) => arrays.kept("a token array").map(Input::TokenArrays),
                Value::Array(Array::Empty) => Err(Error::invalid("input", "input must not be empty")),
                Value::Token(_) => Err(wrong("input", EXPECTED, "a number")),
                Value::Other(found) => Err(wrong("input", EXPECTED, found)),
            })
        })
    }
}

/// One JSON value at the outer or the inner level.
enum Value<'a> {
    Text(Cow<'a, str>),
    Token(u64),
    Array(Array<'a>),
    Other(&'static str),
}

enum Array<'a> {
    Empty,
    Texts(Entries<Cow<'a, str>>),
    Tokens(Entries<u32>),
    Arrays(Entries<Vec<u32>>),
}

/// The entries of an array, as far as they are of one kind and not too many.
struct Entries<T> {
    kept: Vec<T>,
    count: usize,
    max: usize,
    /// The first that is of another kind, and what it is.
    wrong: Option<(usize, Wrong)>,
}

enum Wrong {
    Kind(&'static str),
    Token(u64),
    Inside(Error),
}

impl<T> Entries<T> {
    /// Reads on after the first entry. What is beyond the limit is counted and not kept.
    fn read<'de, A: SeqAccess<'de>>(
        first: Value<'de>,
        mut seq: A,
        max: usize,
        pick: impl Fn(Value<'de>) -> Result<T, Wrong>,
    ) -> Result<Self, A::Error> {
        let mut entries = Self {
            kept: Vec::with_capacity(seq.size_hint().unwrap_or(4).min(max)),
            count: 0,
            max,
            wrong: None,
        };
        let mut next = Some(first);
        while let Some(value) = next {
            match pick(value) {
                Ok(entry) => entries.kept.push(entry),
                Err(wrong) => entries.wrong = Some((entries.count, wrong)),
            }
            entries.count += 1;
            if entries.count >= max || entries.wrong.is_some() {
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    entries.count += 1;
                }
                break;
            }
            next = seq.next_element_seed(INSIDE)?;
        }
        Ok(entries)
    }

    fn kept(self, what: &str) -> Result<Vec<T>, Error> {
        let param = "input";
        let Self { kept, count, max, wrong: first_wrong } = self;
        if count > max {
            let message = format!("{param} has {count} entries, at most {max} are taken");
            return Err(Error::invalid(param, message).with_detail("count", count).with_detail("max", max));
        }
        match first_wrong {
            None => Ok(kept),
            Some((index, Wrong::Kind(found))) => Err(wrong(&format!("{param}[{index}]"), what, found)),
            Some((index, Wrong::Token(token))) => {
                let message = format!("token {token} at position {index} is not in the vocabulary");
                Err(Error::invalid(param, message).with_detail("index", index))
            }
            Some((index, Wrong::Inside(mut error))) => {
                let inner =
                    error.param.as_deref().and_then(|param| param.strip_prefix("input")).unwrap_or_default();
                error.param = Some(format!("{param}[{index}]{inner}"));
                Err(error)
            }
        }
    }
}

fn kind_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Text(_) => "a string",
        Value::Token(_) => "a number",
        Value::Array(_) => "an array",
        Value::Other(found) => found,
    }
}

fn text(value: Value<'_>) -> Result<Cow<'_, str>, Wrong> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(Wrong::Kind(kind_of(&other))),
    }
}

fn token(value: Value<'_>) -> Result<u32, Wrong> {
    match value {
        Value::Token(token) => u32::try_from(token).map_err(|_| Wrong::Token(token)),
        other => Err(Wrong::Kind(kind_of(&other))),
    }
}

fn tokens(value: Value<'_>) -> Result<Vec<u32>, Wrong> {
    match value {
        Value::Array(Array::Empty) => Ok(Vec::new()),
        Value::Array(Array::Tokens(tokens)) => tokens.kept("a token").map_err(Wrong::Inside),
        Value::Array(_) => Err(Wrong::Kind("an array of other things")),
        other => Err(Wrong::Kind(kind_of(&other))),
    }
}

/// Reads whatever stands there, so that the refusal can say what it is. Inside an array, arrays may hold tokens alone.
struct AnyValue {
    is_inside: bool,
}

const INSIDE: AnyValue = AnyValue { is_inside: true };

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, token: u64) -> Result<Value<'de>, E> {
        Ok(Value::Token(token))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other("a negative number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other("a fraction or a number too large"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other("null"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let array = match seq.next_element_seed(INSIDE)? {
            None => Array::Empty,
            Some(first) if self.is_inside => Array::Tokens(Entries::read(first, seq, MAX_TOKENS, token)?),
            Some(first @ Value::Token(_)) => Array::Tokens(Entries::read(first, seq, MAX_TOKENS, token)?),
            Some(first @ Value::Array(_)) => Array::Arrays(Entries::read(first, seq, MAX_BATCH, tokens)?),
            Some(first) => Array::Texts(Entries::read(first, seq, MAX_BATCH, text)?),
        };
        Ok(Value::Array(array))
    }
}
