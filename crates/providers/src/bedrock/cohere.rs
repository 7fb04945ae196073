//! Cohere's models as Bedrock serves them: up to 96 texts a call, and always told what the texts are for.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, SeqAccess},
};

use super::format::Answer;
use crate::{InputType, ProviderError, numbers::Vector, verify::BadAnswer};

/// A request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    texts: &'a [Arc<str>],
    input_type: &'static str,
    /// Too long a text is refused, never cut silently.
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_types: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

impl<'a> Body<'a> {
    pub fn v3(texts: &'a [Arc<str>], input_type: Option<InputType>) -> Self {
        let input_type = match input_type.unwrap_or_default() {
            InputType::Document => "search_document",
            InputType::Query => "search_query",
        };
        Self { texts, input_type, truncate: "NONE", embedding_types: None, output_dimension: None }
    }

    /// Says the length even when it is the native one, so that a change of the default changes no vector.
    pub fn v4(texts: &'a [Arc<str>], input_type: Option<InputType>, dimensions: u32) -> Self {
        let embedding_types = Some(["float"]);
        Self { embedding_types, output_dimension: Some(dimensions), ..Self::v3(texts, input_type) }
    }
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    embeddings: Embeddings,
}

/// An array, or by type where the request names types.
#[derive(Debug)]
struct Embeddings(Vec<Vector>);

impl<'de> Deserialize<'de> for Embeddings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Embeddings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("vectors, or vectors by type")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Embeddings, A::Error> {
                let mut vectors = Vec::with_capacity(96);
                while let Some(vector) = items.next_element()? {
                    vectors.push(vector);
                }
                Ok(Embeddings(vectors))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut types: A) -> Result<Embeddings, A::Error> {
                let mut vectors = None;
                while let Some(key) = types.next_key::<String>()? {
                    if key == "float" {
                        vectors = Some(types.next_value()?);
                    } else {
                        types.next_value::<IgnoredAny>()?;
                    }
                }
                vectors.map(Embeddings).ok_or_else(|| de::Error::missing_field("float"))
            }
        }

        from.deserialize_any(Visitor)
    }
}

impl Reply {
    /// As the answer to `texts` texts: in their order, for there is no index.
    pub fn answer(self, texts: usize) -> Result<Answer, ProviderError> {
        let vectors: Vec<_> = self.embeddings.0.into_iter().map(|Vector(vector)| vector).collect();
        if vectors.len() != texts {
            let bad = BadAnswer::Count { asked: texts, got: vectors.len() };
            return Err(ProviderError::bad_answer(bad.to_string()));
        }
        Ok(Answer { vectors, tokens: None })
    }
}
