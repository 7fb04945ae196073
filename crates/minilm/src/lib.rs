//! all-MiniLM-L6-v2 on the CPU, for the local provider: 384 dimensions, mean pooling, L2-normalised, at most 256 tokens.
//!
//! [`MiniLm`] is the model: it blocks the calling thread and knows neither threads nor async. [`Pool`] runs it on plain
//! OS threads and is what an async caller awaits. The weights come from `scripts/fetch-model-weights.sh`.
//!
//! The forward pass is written for this one architecture instead of for a framework: matrix products are `faer`'s, on
//! weights transposed once at load; everything between them is fused into single passes over the activations and
//! compiled for the widest vectors of the machine; texts are packed end to end, so no padding is ever computed.

mod attention;
mod error;
mod exp;
mod forward;
mod gelu;
mod lanes;
mod layer_norm;
mod matrix;
mod model;
mod pool;
mod pooling;
mod tokenizer;
mod weights;

pub use error::{EmbedError, LoadError, PoolError};
pub use forward::Workspace;
pub use model::MiniLm;
pub use pool::Pool;
pub use tokenizer::Tokenizer;

/// Dimensions of every vector.
pub const DIMENSIONS: usize = 384;

/// The most tokens of one text, `[CLS]` and `[SEP]` included. The weights have positions for 512, but the model was
/// trained on 256 and its publisher cuts there; here a longer text is refused.
pub const MAX_TOKENS: usize = 256;
