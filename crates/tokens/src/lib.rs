//! Tokens of the models: count them, encode text to them, decode what a client sent, and bound them without running a
//! tokenizer at all.
//!
//! [`TextTokenizer`] is the seam. `cl100k_base` lives here, because OpenAI's models and every SDK that sends token
//! arrays use it; the local model's WordPiece tokenizer is data beside its weights and lives in `embermesh-minilm`.
//! Nothing here does I/O, and nothing here knows a model, a price or a limit.

mod cl100k;
mod error;
mod kind;
pub mod tiktoken_cache;

use std::fmt::Debug;

pub use cl100k::{Cl100kBase, MAX_TEXT_BYTES};
pub use error::{DecodeError, EncodeError};
pub use kind::{TokenizerKind, UnknownTokenizer};

/// What the way of a request asks of a model's tokenizer.
///
/// Encoding is CPU-bound: a long text is no work for an async thread.
pub trait TextTokenizer: Debug + Send + Sync {
    /// Which family of tokenizers this is, and with it the cost bound.
    fn kind(&self) -> TokenizerKind;

    /// How many tokens the model is given for `text`, including those that the model adds itself.
    fn count(&self, text: &str) -> Result<usize, EncodeError>;

    /// The tokens the model is given for `text`, including those that the model adds itself.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError>;

    /// The text of a token array, without the tokens that the model adds itself.
    fn decode(&self, tokens: &[u32]) -> Result<String, DecodeError>;
}
