//! A text of a request with all that is embedded of it, and the item of the answer that it becomes.

use std::sync::Arc;

use bytes::Bytes;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{Cut, Failure, Piece, RouteItem};
use embermesh_types::NanoUsd;

use crate::{cache::Cached, domain::unit_length::mean, long_texts::Long, text::Vector};

/// A vector for a piece of a text.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub vector: Cached,
    /// What this request pays for it.
    pub cost: NanoUsd,
    pub cached: bool,
}

impl Found {
    /// A vector that was there already, or that another request has paid for.
    pub fn hit(vector: Cached) -> Self {
        Self { vector, cost: NanoUsd::ZERO, cached: true }
    }

    /// A vector that was made for this request.
    pub fn made(vector: Vector) -> Self {
        Self { vector: vector.cached, cost: vector.cost, cached: false }
    }
}

/// What came of a piece of a text; nothing yet, at first.
pub(crate) type Outcome = Option<Result<Found, Arc<Error>>>;

/// What is embedded of a text, and what came of it.
#[derive(Debug)]
struct Part {
    text: Arc<str>,
    result: Outcome,
}

/// A text of a request.
#[derive(Debug)]
pub(crate) struct Unit {
    parts: Vec<Part>,
    long: Option<Long>,
}

impl Unit {
    /// A text that goes as it is.
    pub fn whole(text: Arc<str>) -> Self {
        Self { parts: vec![Part { text, result: None }], long: None }
    }

    /// A text that is not sent at all.
    pub fn refused(text: Arc<str>, error: Error) -> Self {
        Self { parts: vec![Part { text, result: Some(Err(Arc::new(error))) }], long: None }
    }

    /// A text over the limit, of which only pieces go.
    pub fn cut(text: &str, long: Long) -> Self {
        let part = |piece: &std::ops::Range<usize>| Part { text: text[piece.clone()].into(), result: None };
        Self { parts: long.pieces.iter().map(part).collect(), long: Some(long) }
    }

    /// What is embedded of it.
    pub fn texts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parts.iter().filter(|part| !matches!(part.result, Some(Err(_)))).map(|part| &part.text)
    }

    /// What still lacks a vector, with where to put it.
    pub fn open(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Outcome)> {
        let open = self.parts.iter_mut().filter(|part| part.result.is_none());
        open.map(|part| (&part.text, &mut part.result))
    }

    /// The vectors that it has.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.parts.iter().filter_map(|part| part.result.as_ref()?.as_ref().ok())
    }

    /// Why it has none.
    pub fn error(&self) -> Option<&Error> {
        self.parts.iter().find_map(|part| part.result.as_ref()?.as_ref().err().map(|error| &**error))
    }

    fn into_item(self) -> RouteItem {
        if let Some(error) = self.error() {
            return failed(error);
        }
        let missing = Error::internal("a text came back without its vector");
        let found: Vec<&Found> = self.found().collect();
        let [first, ..] = found[..] else { return failed(&missing) };
        let vector = match &self.long {
            None => Some(first.vector.vector.clone()),
            Some(_) => pooled(&found),
        };
        let Some(vector) = vector else { return failed(&missing) };
        RouteItem {
            vector,
            tokens: found.iter().map(|one| one.vector.tokens.0).sum(),
            cost_nano_usd: found.iter().map(|one| one.cost.0).sum(),
            cached: found.iter().all(|one| one.cached),
            provider: first.vector.provider.to_string(),
            failure: None,
            cut: self.long.as_ref().map(|long| cut(long, &found)),
        }
    }
}

/// The items of an answer, in the order of the texts.
pub(crate) fn assemble(units: Vec<Unit>) -> Vec<RouteItem> {
    units.into_iter().map(Unit::into_item).collect()
}

fn failed(error: &Error) -> RouteItem {
    RouteItem { failure: Some(Failure::from(error)), ..RouteItem::default() }
}

fn pooled(found: &[&Found]) -> Option<Bytes> {
    if let [only] = found {
        return Some(only.vector.vector.clone());
    }
    let weighed = found.iter().map(|one| (one.vector.vector.clone(), one.vector.tokens.0.max(1)));
    mean(&weighed.collect::<Vec<_>>())
}

fn cut(long: &Long, found: &[&Found]) -> Cut {
    let pieces = long.pieces.iter().zip(found).map(|(range, one)| Piece {
        start: range.start as u64,
        end: range.end as u64,
        vector: one.vector.vector.clone(),
        tokens: one.vector.tokens.0,
        cost_nano_usd: one.cost.0,
        cached: one.cached,
    });
    Cut {
        action: long.action.as_str().to_owned(),
        tokens: long.tokens.count.0,
        tokens_exact: long.tokens.exact,
        limit: long.limit,
        pieces: pieces.collect(),
    }
}
