//! What can be wrong with a text or a token array. The messages reach clients: they name positions, never content.

/// Why a text could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than any model takes; tokenising it would only burn the CPU.
    #[error("text is {bytes} bytes long, the tokenizer takes at most {limit}; split it")]
    TooLong {
        /// Length of the text in UTF-8 bytes.
        bytes: usize,
        /// The most that is tokenised.
        limit: usize,
    },
    /// The tokenizer itself failed; its own words.
    #[error("text cannot be tokenised: {0}")]
    Failed(String),
}

/// Why a token array could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The id is not in the vocabulary.
    #[error(
        "token {token} at position {index} is not in the vocabulary; encode with the model's own tokenizer"
    )]
    Unknown {
        /// Position in the array.
        index: usize,
        /// The id as sent.
        token: u32,
    },
    /// The id is a control token, which stands for no text.
    #[error("token {token} at position {index} is a control token and stands for no text; leave it out")]
    Control {
        /// Position in the array.
        index: usize,
        /// The id as sent.
        token: u32,
    },
    /// The bytes of the array are not UTF-8: usually a character was cut in two where a text was split by tokens.
    #[error("tokens are not valid UTF-8 from position {index}; split the text between characters")]
    NotUtf8 {
        /// Position in the array of the first token with a byte outside of any whole character.
        index: usize,
    },
    /// The text is longer than the caller wanted.
    #[error("tokens stand for more than {most_bytes} bytes; send fewer")]
    TooLong {
        /// What the caller allowed.
        most_bytes: usize,
    },
    /// The tokenizer itself failed; its own words.
    #[error("tokens cannot be decoded: {0}")]
    Failed(String),
}
