//! One text on its way to the server, with what it knows of where it came from.

use std::sync::Arc;

use serde::Serialize;

use super::chunk::{halve, text_of};

/// A text to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// A path, or `stdin`.
    pub source: Arc<str>,
    pub heading: String,
    /// Headings that are put before the body.
    pub context: String,
    pub body: String,
    /// Place in its file, from 1; none for lines.
    pub chunk: Option<usize>,
}

/// What is stored beside the text. Equal for equal input, so that the server knows a repeat as one.
#[derive(Debug, Serialize)]
pub(super) struct Metadata<'a> {
    source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    heading: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<usize>,
}

impl Piece {
    /// What is embedded.
    pub fn text(&self) -> String {
        text_of(&self.context, &self.body)
    }

    /// What is stored beside it.
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata { source: &self.source, heading: &self.heading, chunk: self.chunk }
    }

    /// For people: where the text stands.
    pub fn place(&self) -> String {
        match self.chunk {
            Some(chunk) => format!("{} chunk {chunk}", self.source),
            None => self.source.to_string(),
        }
    }

    /// Two pieces of half the length, for a model that cannot take this one. `None` when there is nothing to halve.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let (head, tail) = halve(&self.body)?;
        let part = |body: &str| Self { body: body.to_owned(), ..self.clone() };
        Some([part(head), part(tail)])
    }
}
