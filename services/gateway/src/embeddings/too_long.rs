//! Texts over the model's limit: what callers ask to be done with them, and the check of what the router did. The router alone
//! counts tokens and cuts.

use std::ops::Range;

use bytes::Bytes;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1 as wire;
use embermesh_types::NanoUsd;

use super::{defect, route::check_vector};

/// What is done with a text over the model's limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum OnTooLong {
    /// It is refused.
    #[default]
    Error,
    /// Its beginning is embedded.
    Truncate,
    /// Each part of it is embedded.
    Chunk,
}

impl OnTooLong {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Truncate => "truncate",
            Self::Chunk => "chunk",
        }
    }

    /// What the field says; the default when it says nothing.
    pub fn parse(given: Option<&str>) -> Result<Self, Error> {
        match given {
            None | Some("error") => Ok(Self::Error),
            Some("truncate") => Ok(Self::Truncate),
            Some("chunk") => Ok(Self::Chunk),
            Some(_) => Err(Error::new(Code::Invalid, "on_too_long must be error, truncate or chunk")
                .with_param("on_too_long")),
        }
    }
}

/// What became of a text over the model's limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Truncated or in chunks.
    pub action: OnTooLong,
    /// Of the whole text.
    pub tokens: u64,
    /// Whether `tokens` is no mere upper bound.
    pub tokens_exact: bool,
    /// What the model takes.
    pub limit: u64,
    /// In order; exactly one, from the beginning, of a text that is truncated.
    pub pieces: Vec<Piece>,
}

/// A part of a text that has a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of the text, between characters.
    pub range: Range<usize>,
    /// Little-endian f32; empty where the text's own vector is meant.
    pub vector: Bytes,
    pub tokens: u64,
    pub cost: NanoUsd,
}

impl Cut {
    /// Checks what the router did with `text`, for which `asked` was asked.
    pub fn checked(cut: wire::Cut, text: &str, asked: OnTooLong, dimensions: u32) -> Result<Self, Error> {
        if asked == OnTooLong::Error || cut.action != asked.as_str() {
            return Err(defect("the router cut a text otherwise than asked"));
        }
        let whole = asked == OnTooLong::Truncate;
        let mut pieces: Vec<Piece> = Vec::with_capacity(cut.pieces.len());
        for piece in cut.pieces {
            let range = index(piece.start)?..index(piece.end)?;
            let in_order =
                pieces.last().is_none_or(|last| last.range.start < range.start && last.range.end < range.end);
            if !in_order || text.get(range.clone()).is_none_or(str::is_empty) {
                return Err(defect("the router's parts of a text are not in it, or not in order"));
            }
            if !whole {
                check_vector(&piece.vector, dimensions)?;
            }
            let vector = if whole { Bytes::new() } else { piece.vector };
            let cost = NanoUsd(piece.cost_nano_usd);
            pieces.push(Piece { range, vector, tokens: piece.tokens, cost });
        }
        let beginning = pieces.first().is_some_and(|first| first.range.start == 0);
        if pieces.is_empty() || whole && (pieces.len() > 1 || !beginning) {
            return Err(defect("the router cut a text and does not say where"));
        }
        let wire::Cut { tokens, tokens_exact, limit, .. } = cut;
        Ok(Self { action: asked, tokens, tokens_exact, limit, pieces })
    }

    /// Tokens and cost of the pieces together.
    pub fn sums(&self) -> (u64, NanoUsd) {
        let tokens = self.pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.tokens));
        (tokens, self.pieces.iter().map(|piece| piece.cost).sum())
    }
}

fn index(position: u64) -> Result<usize, Error> {
    usize::try_from(position)
        .map_err(|_| defect("the router's parts of a text are not in it, or not in order"))
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;

    use super::*;

    fn cut(action: &str, ranges: &[(u64, u64)], vector: &[f32]) -> wire::Cut {
        let piece = |(start, end): &(u64, u64)| wire::Piece {
            start: *start,
            end: *end,
            vector: to_le_bytes(vector),
            tokens: 5,
            cost_nano_usd: 7,
            cached: false,
        };
        wire::Cut {
            action: action.into(),
            tokens: 12,
            tokens_exact: true,
            limit: 5,
            pieces: ranges.iter().map(piece).collect(),
        }
    }

    #[test]
    fn parts_lie_between_characters_of_the_text_in_order() {
        use OnTooLong::{Chunk, Error, Truncate};
        let (text, good): (_, &[f32]) = ("aüb c", &[1.0, 0.0]);
        let check = |action: &str, asked, ranges: &[(u64, u64)], vector| {
            Cut::checked(cut(action, ranges, vector), text, asked, 2)
        };
        let chunks = check("chunk", Chunk, &[(0, 3), (4, 6)], good).unwrap();
        assert_eq!(chunks.pieces.iter().map(|p| &text[p.range.clone()]).collect::<Vec<_>>(), ["aü", " c"]);
        let truncated = check("truncate", Truncate, &[(0, 3)], &[]).unwrap();
        assert!(truncated.pieces[0].vector.is_empty());
        for (action, asked, ranges, vector) in [
            ("chunk", Error, &[(0, 3)][..], good),
            ("chunk", Truncate, &[(0, 3)], good),
            ("truncate", Chunk, &[(0, 3)], good),
            ("chunk", Chunk, &[], good),
            ("chunk", Chunk, &[(0, 2)], good),
            ("chunk", Chunk, &[(2, 4)], good),
            ("chunk", Chunk, &[(0, 7)], good),
            ("chunk", Chunk, &[(0, u64::MAX)], good),
            ("chunk", Chunk, &[(3, 3)], good),
            ("chunk", Chunk, &[(3, 0)], good),
            ("chunk", Chunk, &[(3, 4), (0, 3)], good),
            ("chunk", Chunk, &[(0, 3), (0, 4)], good),
            ("chunk", Chunk, &[(0, 3), (1, 3)], good),
            ("chunk", Chunk, &[(0, 3)], &[1.0]),
            ("chunk", Chunk, &[(0, 3)], &[0.0, 0.0]),
            ("truncate", Truncate, &[(1, 3)], good),
            ("truncate", Truncate, &[(0, 1), (1, 3)], good),
            ("truncate", Truncate, &[], good),
        ] {
            let error = check(action, asked, ranges, vector).unwrap_err();
            assert_eq!(error.code, Code::Internal, "{action} {asked:?} {ranges:?}");
        }
    }
}
