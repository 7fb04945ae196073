//! The model's WordPiece tokenizer, from its `tokenizer.json`.

use std::path::Path;

use embermesh_tokens::{DecodeError, EncodeError, TextTokenizer, TokenizerKind};
use tokenizers::decoders::wordpiece::WordPiece;

use crate::{
    LoadError,
    weights::{VOCABULARY, read},
};

/// The longest text that is tokenised. 256 tokens of prose are about 1 KiB.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// BERT's uncased WordPiece, with `[CLS]` and `[SEP]` around each text. It neither truncates nor pads.
///
/// `[SEP]` and its like spelled out in a text are control tokens here, as they are in the model's own implementation.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    cls: u32,
    sep: u32,
    pad: u32,
}

impl Tokenizer {
    /// Loads `tokenizer.json` from the model's directory.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let unusable = |error: tokenizers::Error| LoadError::Tokenizer(error.to_string());
        let mut inner = tokenizers::Tokenizer::from_bytes(read(dir, "tokenizer.json")?).map_err(unusable)?;
        // The file cuts and pads every text to 128 tokens.
        inner.with_truncation(None).map_err(unusable)?;
        inner.with_padding(None);
        // The file's decoder beautifies (`do not` becomes `don't`), after which the text has other tokens.
        inner.with_decoder(Some(WordPiece::new("##".to_owned(), false)));

        let size = inner.get_vocab_size(true);
        if size != VOCABULARY {
            return Err(LoadError::Tokenizer(format!("it has {size} tokens, the model has {VOCABULARY}")));
        }
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| LoadError::Tokenizer(format!("it has no token {token}")))
        };
        let (cls, sep, pad) = (id("[CLS]")?, id("[SEP]")?, id("[PAD]")?);
        Ok(Self { inner, cls, sep, pad })
    }
}

impl TextTokenizer for Tokenizer {
    fn kind(&self) -> TokenizerKind {
        TokenizerKind::WordPiece
    }

    fn count(&self, text: &str) -> Result<usize, EncodeError> {
        self.encode(text).map(|ids| ids.len())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        let encoding =
            self.inner.encode_fast(text, true).map_err(|error| EncodeError::Failed(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text whose tokens these are. What WordPiece has lost (case, accents, spacing) stays lost, but encoding the
    /// text again gives the same array. `[CLS]`, `[SEP]` and padding around it may be there or not.
    fn decode(&self, tokens: &[u32]) -> Result<String, DecodeError> {
        if let Some((index, token)) =
            tokens.iter().enumerate().find(|(_, token)| **token as usize >= VOCABULARY)
        {
            return Err(DecodeError::Unknown { index, token: *token });
        }
        let mut text = tokens.strip_prefix(&[self.cls]).unwrap_or(tokens);
        while let Some(shorter) = text.strip_suffix(&[self.pad]) {
            text = shorter;
        }
        let text = text.strip_suffix(&[self.sep]).unwrap_or(text);
        self.inner.decode(text, false).map_err(|error| DecodeError::Failed(error.to_string()))
    }
}
