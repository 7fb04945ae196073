//! `cl100k_base`: the byte-level BPE of OpenAI's embedding models, and so of the token arrays that SDKs send.

use std::ops::Range;

use tiktoken_rs::CoreBPE;

use crate::{DecodeError, EncodeError, TextTokenizer, TokenizerKind};

/// The longest text that is tokenised. The models that use this tokenizer take 8,192 tokens, about 32 KiB of prose; and
/// the split pattern backtracks over runs of white space, where `tiktoken-rs` 0.12 panics at a million characters (half
/// a million pass).
pub const MAX_TEXT_BYTES: usize = 512 * 1024;

/// Tokens of at most 128 bytes each that are decoded before the length is looked at.
const DECODED_TOGETHER: usize = 1024;

/// The ids of the text tokens. Those above are control tokens or nothing.
pub(crate) const TEXT_TOKENS: Range<u32> = 0..100_256;
const CONTROL_TOKENS: [u32; 5] = [100_257, 100_258, 100_259, 100_260, 100_276];

/// The `cl100k_base` tokenizer. The table is built once for the process, at the first use of any method.
///
/// Control tokens spelled out in a text (`<|endoftext|>`) are ordinary text, and in a token array they are refused: what
/// a user writes never steers the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cl100kBase;

impl Cl100kBase {
    pub(crate) fn table() -> &'static CoreBPE {
        tiktoken_rs::cl100k_base_singleton()
    }

    /// As [`TextTokenizer::decode`], of a text of at most `most_bytes` bytes: little more is ever held, and a token stands for up to 128.
    ///
    /// # Errors
    /// As there, and [`DecodeError::TooLong`].
    pub fn decode_at_most(&self, tokens: &[u32], most_bytes: usize) -> Result<String, DecodeError> {
        for (index, &token) in tokens.iter().enumerate() {
            if CONTROL_TOKENS.contains(&token) {
                return Err(DecodeError::Control { index, token });
            }
            if !TEXT_TOKENS.contains(&token) {
                return Err(DecodeError::Unknown { index, token });
            }
        }
        let mut bytes = Vec::new();
        for some in tokens.chunks(DECODED_TOGETHER) {
            let decoded = Self::table().decode_bytes(some);
            bytes.extend(decoded.map_err(|error| DecodeError::Failed(error.to_string()))?);
            if bytes.len() > most_bytes {
                return Err(DecodeError::TooLong { most_bytes });
            }
        }
        String::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8 {
            index: token_at(tokens, error.utf8_error().valid_up_to()),
        })
    }
}

impl TextTokenizer for Cl100kBase {
    fn kind(&self) -> TokenizerKind {
        TokenizerKind::Cl100kBase
    }

    fn count(&self, text: &str) -> Result<usize, EncodeError> {
        self.encode(text).map(|tokens| tokens.len())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        Ok(Self::table().encode_ordinary(text))
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, DecodeError> {
        self.decode_at_most(tokens, usize::MAX)
    }
}

/// The position of the token that holds the byte at `offset` of the decoded text.
fn token_at(tokens: &[u32], offset: usize) -> usize {
    let mut end = 0;
    tokens
        .iter()
        .position(|&token| {
            end += Cl100kBase::table().decode_bytes(&[token]).map_or(0, |bytes| bytes.len());
            end > offset
        })
        .unwrap_or(tokens.len())
}

#[cfg(test)]
mod tests;
