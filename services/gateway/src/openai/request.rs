//! The body of an embeddings request. What is wrong with it is told by member, as OpenAI's SDKs expect.

use std::{borrow::Cow, fmt};

use embermesh_errors::{Code, Error};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{
    encode::Encoding,
    input::{Input, InputField},
    scalar::Scalar,
};
use crate::http::in_plain_words;

/// A request, borrowing from its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EmbeddingsRequest<'a> {
    pub input: Input<'a>,
    pub model: Cow<'a, str>,
    pub dimensions: Option<u32>,
    pub encoding: Encoding,
    pub user: Option<Cow<'a, str>>,
}

impl<'a> EmbeddingsRequest<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut fault = None;
        let mut json = serde_json::Deserializer::from_slice(body);
        let members = Members { fault: &mut fault }
            .deserialize(&mut json)
            .and_then(|members| json.end().map(|()| members));
        match (members, fault) {
            (_, Some(fault)) => Err(fault),
            (Ok(members), None) => members.check(),
            (Err(error), None) => {
                // serde repeats what it met, which may be a text
                let said = in_plain_words(&error.to_string());
                Err(Error::new(Code::Invalid, format!("the body is not the JSON object expected: {said}")))
            }
        }
    }
}

#[derive(Default)]
struct Read<'a> {
    input: Option<InputField<'a>>,
    model: Option<Scalar<'a>>,
    encoding_format: Option<Scalar<'a>>,
    dimensions: Option<Scalar<'a>>,
    user: Option<Scalar<'a>>,
}

impl<'a> Read<'a> {
    fn check(self) -> Result<EmbeddingsRequest<'a>, Error> {
        let required = |param: &str| Error::invalid(param, format!("{param} is required"));
        let text = |scalar: Option<Scalar<'a>>, param| scalar.map_or(Ok(None), |scalar| scalar.text(param));
        let encoding = match text(self.encoding_format, "encoding_format")?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => {
                return Err(Error::invalid("encoding_format", "encoding_format must be float or base64"));
            }
        };
        let dimensions = self.dimensions.map_or(Ok(None), |scalar| scalar.whole("dimensions"))?;
        Ok(EmbeddingsRequest {
            model: text(self.model, "model")?.ok_or_else(|| required("model"))?,
            input: self.input.ok_or_else(|| required("input"))?.0?,
            dimensions,
            encoding,
            user: text(self.user, "user")?,
        })
    }
}

/// Reads the members and notes the first that should not be there; serde's own errors cannot name one.
struct Members<'f> {
    fault: &'f mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Read<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Read<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Read<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with input and model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read<'de>, A::Error> {
        let mut read = Read::default();
        while let Some(Scalar::Text(name)) = map.next_key()? {
            let is_repeated = match name.as_ref() {
                "input" => read.input.replace(map.next_value()?).is_some(),
                "model" => read.model.replace(map.next_value()?).is_some(),
                "encoding_format" => read.encoding_format.replace(map.next_value()?).is_some(),
                "dimensions" => read.dimensions.replace(map.next_value()?).is_some(),
                "user" => read.user.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    let name: String = name.chars().take(64).collect();
                    let message = format!(
                        "unknown member '{name}', expected input, model, encoding_format, dimensions or user"
                    );
                    *self.fault = Some(Error::invalid(name, message));
                    return Err(A::Error::custom("unknown member"));
                }
            };
            if is_repeated {
                *self.fault = Some(Error::invalid(name.as_ref(), format!("{name} is given twice")));
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
