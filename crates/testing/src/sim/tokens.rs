//! Token counts as the API bills them: exact `cl100k_base`, the tokenizer of every OpenAI embedding model.
//!
//! Taken straight from the tokenizer library and not from the product's own crate, so that a mistake there shows.

use tiktoken_rs::cl100k_base_singleton;

/// The number of `cl100k_base` tokens of a text; special tokens written out in it count as ordinary text.
#[must_use]
pub fn count(text: &str) -> usize {
    cl100k_base_singleton().count_ordinary(text)
}

/// The bytes that these token ids stand for, or `None` when one of them does not exist.
pub(super) fn decode(ids: &[u32]) -> Option<Vec<u8>> {
    cl100k_base_singleton().decode_bytes(ids).ok()
}

/// The token ids of a text.
pub(super) fn encode(text: &str) -> Vec<u32> {
    cl100k_base_singleton().encode_ordinary(text)
}
