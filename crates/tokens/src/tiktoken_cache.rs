//! The table of `cl100k_base` as the Python package `tiktoken` caches it, so that Python clients run without network.
//!
//! `tiktoken` looks in `TIKTOKEN_CACHE_DIR` for a file named after the table's source and checks its SHA-256, so the
//! bytes must be the published ones exactly. They are rebuilt from the tokenizer in memory: one line per token, in the
//! order of the ids, `base64(bytes) SP id LF`.

use crate::cl100k::{Cl100kBase, TEXT_TOKENS};

/// The name of the file that `tiktoken` looks for in `TIKTOKEN_CACHE_DIR`: the SHA-1 of the table's source address.
pub const CL100K_BASE_FILE: &str = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4";

/// The content of that file, 1.7 MB.
pub fn cl100k_base_table() -> Vec<u8> {
    let mut table = Vec::with_capacity(1_700_000);
    for token in TEXT_TOKENS {
        // Never an error: the range is what the table was built from.
        let bytes = Cl100kBase::table().decode_bytes(&[token]).unwrap_or_default();
        table.extend_from_slice(base64_simd::STANDARD.encode_to_string(bytes).as_bytes());
        table.extend_from_slice(format!(" {token}\n").as_bytes());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BLAKE3 of the file whose SHA-256 `tiktoken` accepts.
    const PUBLISHED: &str = "65afa6a4947e558c7e52ca1dc682285a6aff053a60ce9ba951bf154da0cb980f";

    #[test]
    fn the_table_is_the_published_one_byte_for_byte() {
        assert_eq!(blake3::hash(&cl100k_base_table()).to_string(), PUBLISHED);
    }
}
