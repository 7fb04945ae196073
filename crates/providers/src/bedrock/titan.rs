//! Amazon's Titan models: one text a call.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::format::Answer;
use crate::{ProviderError, numbers::Vector};

/// Titan Embeddings G1 takes nothing but the text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct V1<'a> {
    input_text: &'a str,
}

impl<'a> V1<'a> {
    pub const fn new(input_text: &'a str) -> Self {
        Self { input_text }
    }
}

/// Says what could be left to defaults, so that a change of a default changes no vector.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct V2<'a> {
    input_text: &'a str,
    dimensions: u32,
    normalize: bool,
    embedding_types: [&'static str; 1],
}

impl<'a> V2<'a> {
    pub const fn new(input_text: &'a str, dimensions: u32) -> Self {
        Self { input_text, dimensions, normalize: true, embedding_types: ["float"] }
    }
}

/// The multimodal model, without an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image<'a> {
    input_text: &'a str,
    embedding_config: EmbeddingConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbeddingConfig {
    output_embedding_length: u32,
}

impl<'a> Image<'a> {
    pub const fn new(input_text: &'a str, output_embedding_length: u32) -> Self {
        Self { input_text, embedding_config: EmbeddingConfig { output_embedding_length } }
    }
}

/// An answer of any of the three.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    embedding: Option<Vector>,
    input_text_token_count: Option<u64>,
    /// The multimodal model says here what went wrong, with status 200.
    message: Option<IgnoredAny>,
}

impl Reply {
    pub fn answer(self) -> Result<Answer, ProviderError> {
        match self {
            Self { message: Some(_), .. } => {
                Err(ProviderError::bad_answer("Titan answered with an error beside status 200"))
            }
            Self { embedding: None, .. } => {
                Err(ProviderError::bad_answer("Titan's answer holds no embedding"))
            }
            Self { embedding: Some(Vector(vector)), input_text_token_count, .. } => {
                Ok(Answer { vectors: vec![vector], tokens: input_text_token_count })
            }
        }
    }
}
