//! Sends pieces in batches, a few at a time, until each is settled: stored, known already, or refused for good.
//!
//! What may pass (a limit, a provider that is down) is sent again after a wait, what is too long is halved, and what would be the
//! same for every text (a key, a budget, an unknown model) ends the work. The server recognises what it has, so that nothing
//! here needs to remember what an earlier run had done.

use std::{cell::RefCell, collections::VecDeque};

use embermesh_types::NanoUsd;
use futures::{Stream, StreamExt, future::ready};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    EmbedArguments,
    piece::{Metadata, Piece},
    progress::Progress,
    sources::Skipped,
    summary::{Refused, Tally},
};
use crate::client::{Client, ErrorBody, Failure};

const BATCH: usize = 32;
const PATH: &str = "/api/v1/embeddings/batch";

/// The work of one command.
#[derive(Debug)]
pub(super) struct Ingest<'a> {
    client: &'a Client,
    arguments: &'a EmbedArguments,
    progress: &'a Progress,
    tally: RefCell<Tally>,
    /// Why no more batches are begun.
    stopped: RefCell<Option<Failure>>,
}

#[derive(Debug, Serialize)]
struct EmbedRequest<'a> {
    agent_id: &'a str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    metadata: Metadata<'a>,
    return_vector: bool,
}

#[derive(Debug, Deserialize)]
struct BatchAnswer<'a> {
    embeddings: Vec<Entry>,
    /// As written: money never becomes a float.
    #[serde(borrow)]
    total_cost_usd: &'a RawValue,
    total_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    deduplicated: Option<bool>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

/// What one answer leaves to do.
#[derive(Debug, Default)]
struct Left {
    halved: Vec<Piece>,
    /// To be sent as they are, and why they were not served.
    again: Vec<(Piece, ErrorBody)>,
}

impl<'a> Ingest<'a> {
    /// Work on top of what is in `tally` already.
    pub fn new(
        client: &'a Client,
        arguments: &'a EmbedArguments,
        tally: Tally,
        progress: &'a Progress,
    ) -> Self {
        Self { client, arguments, progress, tally: RefCell::new(tally), stopped: RefCell::new(None) }
    }

    /// Sends everything, and answers what became of it, and what ended it early.
    pub async fn run(self, pieces: impl Stream<Item = Result<Piece, Skipped>>) -> (Tally, Option<Failure>) {
        let total_known = !self.arguments.from.is_empty();
        let pieces = pieces.filter_map(|piece| {
            ready(match piece {
                Ok(piece) => {
                    if !total_known {
                        self.tally.borrow_mut().find();
                    }
                    Some(piece)
                }
                Err(skipped) => {
                    self.progress.warn(&skipped);
                    self.tally.borrow_mut().skip();
                    None
                }
            })
        });
        let batches =
            pieces.chunks(BATCH).take_while(|_| ready(!self.is_stopped())).map(|batch| self.settle(batch));
        // batches that are under way are answered even when one of them ends the work
        batches.buffer_unordered(usize::from(self.arguments.concurrency)).for_each(|()| ready(())).await;
        (self.tally.into_inner(), self.stopped.into_inner())
    }

    async fn settle(&self, batch: Vec<Piece>) {
        let mut waits = self.client.patience().waits();
        let mut queue = VecDeque::from([batch]);
        while let Some(batch) = queue.pop_front() {
            if self.is_stopped() {
                return;
            }
            let left = match self.send(&batch).await {
                Ok(left) => left,
                Err(Failure::Refused(refusal)) if refusal.status == StatusCode::PAYLOAD_TOO_LARGE => {
                    match split_batch(batch) {
                        Ok(parts) => {
                            queue.extend(parts);
                            continue;
                        }
                        Err(single) => self.halve_or_refuse(single, refusal.body).into(),
                    }
                }
                Err(failure) => return self.stop(failure),
            };
            queue.extend(left.halved.chunks(BATCH).map(<[Piece]>::to_vec));
            let Some((_, why)) = left.again.first() else { continue };
            let Some(wait) = waits.next(None) else {
                return self.stop(why.clone().into());
            };
            self.progress.say(format!("waiting: {why}"));
            tokio::time::sleep(wait).await;
            self.progress.say("");
            queue.push_back(left.again.into_iter().map(|(piece, _)| piece).collect());
        }
    }

    async fn send(&self, batch: &[Piece]) -> Result<Left, Failure> {
        let garbled = |error: &dyn std::fmt::Display| Failure::Garbled(error.to_string());
        let requests: Vec<_> = batch.iter().map(|piece| self.request(piece)).collect();
        let body = serde_json::to_vec(&requests).map_err(|error| garbled(&error))?;
        let answer = self.client.post(PATH, body).await?;
        let answer: BatchAnswer<'_> = serde_json::from_slice(&answer).map_err(|error| garbled(&error))?;
        if answer.embeddings.len() != batch.len() {
            let message = format!("{} results for {} texts", answer.embeddings.len(), batch.len());
            return Err(Failure::Garbled(message));
        }
        let cost: NanoUsd = answer.total_cost_usd.get().parse().map_err(|error| garbled(&error))?;
        self.tally.borrow_mut().pay(cost, answer.total_tokens);
        let mut left = Left::default();
        for (piece, entry) in batch.iter().zip(answer.embeddings) {
            match entry.error {
                None => {
                    self.tally.borrow_mut().store(entry.deduplicated.unwrap_or(false));
                    self.progress.settle(1);
                }
                Some(error) => match verdict(&error) {
                    Verdict::TooLong => left.halved.extend(self.halve_or_refuse(piece.clone(), error)),
                    Verdict::Passing => left.again.push((piece.clone(), error)),
                    Verdict::OfEveryText => self.stop(error.into()),
                    Verdict::OfThisText => self.refuse(piece, error),
                },
            }
        }
        Ok(left)
    }

    fn request<'b>(&'b self, piece: &'b Piece) -> EmbedRequest<'b> {
        EmbedRequest {
            agent_id: self.arguments.agent.as_str(),
            text: piece.text(),
            model: self.arguments.model.as_deref(),
            task_type: self.arguments.task_type.as_deref(),
            context_id: self.arguments.context.as_deref(),
            metadata: piece.metadata(),
            return_vector: false,
        }
    }

    fn halve_or_refuse(&self, piece: Piece, error: ErrorBody) -> Vec<Piece> {
        if let Some(halves) = piece.halves() {
            self.tally.borrow_mut().halve();
            self.progress.grow();
            return halves.into();
        }
        self.refuse(&piece, error);
        Vec::new()
    }

    fn refuse(&self, piece: &Piece, error: ErrorBody) {
        self.tally.borrow_mut().refuse(Refused { place: piece.place(), error });
        self.progress.settle(1);
    }

    /// The first reason is the one that is told.
    fn stop(&self, failure: Failure) {
        self.stopped.borrow_mut().get_or_insert(failure);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }
}

impl From<Vec<Piece>> for Left {
    fn from(halved: Vec<Piece>) -> Self {
        Self { halved, again: Vec::new() }
    }
}

/// Two batches of one that was too large, or its only piece.
fn split_batch(mut batch: Vec<Piece>) -> Result<[Vec<Piece>; 2], Piece> {
    match batch.pop() {
        Some(only) if batch.is_empty() => Err(only),
        last => {
            batch.extend(last);
            let tail = batch.split_off(batch.len() / 2);
            Ok([batch, tail])
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Halves of it may do.
    TooLong,
    /// It may do later.
    Passing,
    /// No text would have done.
    OfEveryText,
    /// Others may do.
    OfThisText,
}

fn verdict(error: &ErrorBody) -> Verdict {
    match (error.code.as_str(), error.param.as_deref()) {
        ("input_too_long" | "too_large", _) => Verdict::TooLong,
        _ if error.is_passing() => Verdict::Passing,
        ("unauthenticated" | "forbidden" | "budget_exceeded" | "quota_exceeded" | "not_implemented", _)
        | (_, Some("agent_id" | "model" | "task_type" | "context_id")) => Verdict::OfEveryText,
        _ => Verdict::OfThisText,
    }
}

#[cfg(test)]
mod tests;
