//! Which models there are behind Bedrock, what each takes, and where its body is written and read.

use bytes::Bytes;
use serde::Serialize;

use super::{cohere, titan};
use crate::{
    BatchLimits, Failure, ProviderCall, ProviderError,
    json::{parse, unsendable},
};

/// `InvokeModel` takes 25,000,000 bytes of body; JSON at most doubles ordinary text.
const MAX_BYTES: u64 = 12_000_000;
/// Cohere's limit of one call.
const COHERE_TEXTS: u32 = 96;

/// A form of request and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Titan Embeddings G1, text.
    TitanV1,
    /// Titan Text Embeddings V2.
    TitanV2,
    /// Titan Multimodal Embeddings G1, its text side.
    TitanImage,
    /// Cohere Embed 3.
    CohereV3,
    /// Cohere Embed 4.
    CohereV4,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) struct Answer {
    pub vectors: Vec<Bytes>,
    /// As far as the body tells.
    pub tokens: Option<u64>,
}

impl Format {
    /// Of the model that Bedrock calls `name`: an id, one with a region group before it (`us.`), or an ARN that ends in one. Where
    /// an ARN does not tell (provisioned throughput, application inference profiles), the catalog's `id` does.
    pub fn of(name: &str, id: &str) -> Option<Self> {
        [name, id].into_iter().find_map(Self::named)
    }

    fn named(name: &str) -> Option<Self> {
        let has = |part: &str| name.contains(part);
        Some(if has("titan-embed-text-v2") {
            Self::TitanV2
        } else if has("titan-embed-text-v1") || has("titan-embed-g1-text") {
            Self::TitanV1
        } else if has("titan-embed-image") {
            Self::TitanImage
        } else if has("embed-v4") {
            Self::CohereV4
        } else if has("embed-english") || has("embed-multilingual") {
            Self::CohereV3
        } else {
            return None;
        })
    }

    /// What one call may carry.
    pub const fn limits(self) -> BatchLimits {
        let texts = match self {
            Self::TitanV1 | Self::TitanV2 | Self::TitanImage => 1,
            Self::CohereV3 | Self::CohereV4 => COHERE_TEXTS,
        };
        BatchLimits { texts, tokens: u64::MAX, bytes: MAX_BYTES }
    }

    /// Lengths that a request may ask for; none: `dimensions` is not a parameter of the model.
    const fn lengths(self) -> &'static [u32] {
        match self {
            Self::TitanV1 | Self::CohereV3 => &[],
            Self::TitanV2 => &[256, 512, 1024],
            Self::TitanImage => &[256, 384, 1024],
            Self::CohereV4 => &[256, 512, 1024, 1536],
        }
    }

    fn check_dimensions(self, call: &ProviderCall) -> Result<(), ProviderError> {
        let (name, dimensions, allowed) = (&call.name, call.dimensions, self.lengths());
        let message = if allowed.is_empty() {
            if call.shortened().is_none() {
                return Ok(());
            }
            let native = call.model.native_dimensions;
            format!(
                "dimensions {dimensions}: {name} gives {native} and no other length, leave dimensions out"
            )
        } else {
            if allowed.contains(&dimensions) {
                return Ok(());
            }
            format!("dimensions {dimensions}: {name} gives one of {allowed:?}")
        };
        Err(ProviderError::new(Failure::Refused, message))
    }

    /// The request's body.
    ///
    /// # Errors
    /// When the model cannot do what the call asks for; nothing was sent.
    pub fn write(self, call: &ProviderCall) -> Result<Vec<u8>, ProviderError> {
        self.check_dimensions(call)?;
        match (self, call.texts.as_slice()) {
            (Self::TitanV1, [text]) => json(&titan::V1::new(text)),
            (Self::TitanV2, [text]) => json(&titan::V2::new(text, call.dimensions)),
            (Self::TitanImage, [text]) => json(&titan::Image::new(text, call.dimensions)),
            (Self::TitanV1 | Self::TitanV2 | Self::TitanImage, texts) => {
                let message = format!("{} takes one text a call, not {}", call.name, texts.len());
                Err(ProviderError::new(Failure::Local, message))
            }
            (Self::CohereV3, texts) => json(&cohere::Body::v3(texts, call.distinguished())),
            (Self::CohereV4, texts) => json(&cohere::Body::v4(texts, call.distinguished(), call.dimensions)),
        }
    }

    /// Reads the answer to a call of `texts` texts.
    pub async fn read(self, body: Bytes, texts: usize) -> Result<Answer, ProviderError> {
        match self {
            Self::TitanV1 | Self::TitanV2 | Self::TitanImage => {
                parse::<titan::Reply>(body, "Titan").await?.answer()
            }
            Self::CohereV3 | Self::CohereV4 => parse::<cohere::Reply>(body, "Cohere").await?.answer(texts),
        }
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, ProviderError> {
    serde_json::to_vec(body).map_err(|error| unsendable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_format() {
        for (name, id, expected) in [
            ("amazon.titan-embed-text-v1", "", Some(Format::TitanV1)),
            ("amazon.titan-embed-g1-text-02", "", Some(Format::TitanV1)),
            ("amazon.titan-embed-text-v2:0", "", Some(Format::TitanV2)),
            ("amazon.titan-embed-image-v1", "", Some(Format::TitanImage)),
            ("cohere.embed-english-v3", "", Some(Format::CohereV3)),
            ("cohere.embed-multilingual-v3", "", Some(Format::CohereV3)),
            ("us.cohere.embed-v4:0", "", Some(Format::CohereV4)),
            (
                "arn:aws:bedrock:eu-west-1::foundation-model/amazon.titan-embed-text-v2:0",
                "",
                Some(Format::TitanV2),
            ),
            (
                "arn:aws:bedrock:eu-west-1:1:provisioned-model/x1y2",
                "amazon.titan-embed-text-v1",
                Some(Format::TitanV1),
            ),
            (
                "arn:aws:bedrock:eu-west-1:1:application-inference-profile/q",
                "embed-v4",
                Some(Format::CohereV4),
            ),
            ("amazon.titan-text-express-v1", "text-embedding-3-small", None),
        ] {
            assert_eq!(Format::of(name, id), expected, "{name} {id}");
        }
    }

    #[test]
    fn the_name_counts_before_the_id() {
        assert_eq!(
            Format::of("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v1"),
            Some(Format::TitanV2)
        );
    }
}
