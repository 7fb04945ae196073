//! How much one call may bring.

use serde::{Deserialize, Serialize};

/// Limits of the embedding calls, in UTF-8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingLimits {
    /// One text. Models take far less; the router says so by tokens.
    pub max_text_bytes: usize,
    /// All texts of a call.
    pub max_total_bytes: usize,
    /// The metadata of one text.
    pub max_metadata_bytes: usize,
}

impl Default for EmbeddingLimits {
    fn default() -> Self {
        Self {
            max_text_bytes: embermesh_tokens::MAX_TEXT_BYTES,
            // with 2,048 vectors beside them, texts must fit into one message between services
            max_total_bytes: 8 * 1024 * 1024,
            max_metadata_bytes: 64 * 1024,
        }
    }
}
