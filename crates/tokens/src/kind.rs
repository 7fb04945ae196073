//! The families of tokenizers, by the name under which the catalog knows them, and their cost bounds.

use std::{fmt, str::FromStr};

/// A family of tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenizerKind {
    /// Byte-level BPE with OpenAI's `cl100k_base` table.
    Cl100kBase,
    /// BERT's WordPiece, uncased, with `[CLS]` and `[SEP]` around the text.
    WordPiece,
}

/// A tokenizer name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown tokenizer `{0}`; use `cl100k_base` or `wordpiece`")]
pub struct UnknownTokenizer(pub String);

impl TokenizerKind {
    /// The name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cl100kBase => "cl100k_base",
            Self::WordPiece => "wordpiece",
        }
    }

    /// No fewer tokens than any text of this length can cost, in constant time.
    ///
    /// Byte-level BPE never makes more tokens than there are bytes; 16 are for what a provider may put around a text.
    /// WordPiece takes the text apart by Unicode's canonical decomposition first, so that characters are no bound (a
    /// Hangul syllable becomes up to three letters and as many tokens); its UTF-8 bytes are. 2 are `[CLS]` and `[SEP]`.
    pub fn upper_bound(self, text: &str) -> usize {
        match self {
            Self::Cl100kBase => text.len() + 16,
            Self::WordPiece => text.len() + 2,
        }
    }
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenizerKind {
    type Err = UnknownTokenizer;

    fn from_str(name: &str) -> Result<Self, UnknownTokenizer> {
        [Self::Cl100kBase, Self::WordPiece]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownTokenizer(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for kind in [TokenizerKind::Cl100kBase, TokenizerKind::WordPiece] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = "o200k_base".parse::<TokenizerKind>().unwrap_err();
        assert_eq!(error.to_string(), "unknown tokenizer `o200k_base`; use `cl100k_base` or `wordpiece`");
    }

    #[test]
    fn bounds_count_bytes() {
        assert_eq!(TokenizerKind::Cl100kBase.upper_bound("né"), 3 + 16);
        assert_eq!(TokenizerKind::WordPiece.upper_bound("né"), 3 + 2);
    }
}
