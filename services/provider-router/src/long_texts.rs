//! Texts over a model's limit: refused with the figures, cut to what fits, or taken apart. Never cut in silence.

use std::{ops::Range, sync::Arc};

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::CatalogModel;

use crate::tokenizers::{Counted, Tokenizers};

/// What to do with a text over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTooLong {
    Refuse,
    Truncate,
    Chunk,
}

impl OnTooLong {
    /// Reads the name in a request; empty is the default.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" | "error" => Ok(Self::Refuse),
            "truncate" => Ok(Self::Truncate),
            "chunk" => Ok(Self::Chunk),
            _ => Err(Error::invalid("on_too_long", "choose error, truncate or chunk")),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "error",
            Self::Truncate => "truncate",
            Self::Chunk => "chunk",
        }
    }
}

/// A text that was too long.
#[derive(Debug, Clone)]
pub(crate) struct Long {
    pub action: OnTooLong,
    pub tokens: Counted,
    pub limit: u64,
    /// What is embedded of it, in order.
    pub pieces: Vec<Range<usize>>,
}

/// Looks at a text before it is sent: `None`, it goes as it is.
pub(crate) async fn measure(
    tokenizers: &Tokenizers,
    model: &Arc<CatalogModel>,
    text: &Arc<str>,
    on_too_long: OnTooLong,
) -> Result<Option<Long>, Error> {
    let limit = u64::from(model.max_input_tokens);
    if limit == 0 || Tokenizers::bound(model, text).0 <= limit {
        return Ok(None);
    }
    let tokens = tokenizers.measure(model, text).await;
    if tokens.count.0 <= limit || (!tokens.exact && on_too_long == OnTooLong::Refuse) {
        // where only a bound is known, the provider may still take it: it refuses for itself and bills nothing
        return Ok(None);
    }
    if on_too_long == OnTooLong::Refuse {
        let count = tokens.count.0;
        let message = format!("the text has {count} tokens, {} takes {limit}; shorten or split it", model.id);
        let error = Error::new(Code::InputTooLong, message).with_param("text");
        return Err(error.with_detail("tokens", count).with_detail("limit", limit));
    }
    let most = if on_too_long == OnTooLong::Truncate { 1 } else { usize::MAX };
    let pieces = tokenizers.cut(model, text, limit, most).await;
    if pieces.is_empty() {
        return Err(Error::internal("a text cannot be cut to what the model takes"));
    }
    Ok(Some(Long { action: on_too_long, tokens, limit, pieces }))
}
