//! What can go wrong when the model is loaded and when it is used.

use std::{io, path::PathBuf};

use embermesh_tokens::EncodeError;

/// Why the model could not be loaded from a directory.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}; run scripts/fetch-model-weights.sh, or name a directory that holds the model", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `config.json` is not the JSON of a model.
    #[error("config.json cannot be parsed")]
    Config(#[source] serde_json::Error),
    /// The directory holds another model.
    #[error("config.json has {field} = {found} where all-MiniLM-L6-v2 has {expected}; this is another model")]
    OtherModel {
        /// The field of `config.json`.
        field: &'static str,
        /// The value that this crate computes with.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// `model.safetensors` is damaged.
    #[error("model.safetensors is damaged; fetch it again")]
    Weights(#[from] safetensors::SafeTensorError),
    /// A tensor is not there, or not in the type and shape of this model.
    #[error("tensor {name} is {found} where all-MiniLM-L6-v2 has {expected}")]
    Tensor {
        /// Name in the file.
        name: String,
        /// Type and shape that this crate computes with.
        expected: String,
        /// Type and shape in the file.
        found: String,
    },
    /// `tokenizer.json` is damaged, or of another model.
    #[error("tokenizer.json cannot be used: {0}")]
    Tokenizer(String),
}

/// Why a text was not embedded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// More tokens than the model takes. Nothing is ever cut.
    #[error("text {index} has {tokens} tokens, the model takes {limit}; shorten or split it")]
    TooLong {
        /// Position among the texts of the call.
        index: usize,
        /// Tokens of the text, `[CLS]` and `[SEP]` included.
        tokens: usize,
        /// [`MAX_TOKENS`](crate::MAX_TOKENS).
        limit: usize,
    },
    /// The tokenizer refused the text.
    #[error("text {index}: {source}")]
    Encode {
        /// Position among the texts of the call.
        index: usize,
        /// Why.
        source: EncodeError,
    },
}

impl EmbedError {
    /// Position of the text among the texts of the call.
    pub fn index(&self) -> usize {
        match self {
            Self::TooLong { index, .. } | Self::Encode { index, .. } => *index,
        }
    }

    /// The same error, where the texts were a part of a call that began at `start`.
    pub(crate) fn moved_by(mut self, start: usize) -> Self {
        match &mut self {
            Self::TooLong { index, .. } | Self::Encode { index, .. } => *index += start,
        }
        self
    }
}

/// Why a [`Pool`](crate::Pool) gave no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// A text was refused; the lowest refused position of the request.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A worker panicked on this request; the worker goes on with the next.
    #[error("a worker of the local model panicked; this is a defect, report it")]
    Panicked,
    /// The pool was shut down before the request was done.
    #[error("the local model is shutting down; retry elsewhere")]
    Closed,
}
