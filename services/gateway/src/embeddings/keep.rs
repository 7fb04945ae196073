//! Hands vectors to the store: one call a space, in the order of the request. A text in chunks is a row for each.

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{PutRequest, PutResult, PutRow};
use embermesh_types::WriteToken;

use super::{
    Embeddings, OnTooLong,
    caller::Caller,
    defect,
    embed::{Embedded, Kept, Outcome, Placed, Refused},
    fields,
    too_long::Piece,
};

/// What goes in one message; far below what one may hold, whatever the last row adds.
const MAX_PUT_BYTES: usize = 16 * 1024 * 1024;
/// Most rows that the store takes at once.
const MAX_PUT_ROWS: usize = 2048;

/// Texts that may be refused one by one before all the rest of a message goes with them: what refuses so many refuses all.
const MAX_REFUSALS: usize = 16;

/// A row to be: of which text, and of which piece of it.
type Part = (usize, usize);
/// A row that is kept, and what stands for it.
type Row = (PutResult, WriteToken);

impl Embeddings {
    /// Keeps what was embedded. What cannot be kept is still answered: it was paid for.
    pub(super) async fn keep(&self, caller: &Caller, embedded: Placed<Embedded>) -> Placed<Outcome> {
        let mut results: Vec<Vec<Result<Row, Error>>> = embedded.iter().map(|_| Vec::new()).collect();
        for mut put in puts(&embedded) {
            let mut refusals = 0;
            while !put.is_empty() {
                match self.put(caller, &embedded, &put).await {
                    Ok((done, token)) => {
                        put.drain(..)
                            .zip(done)
                            .for_each(|((of, _), result)| results[of].push(Ok((result, token))));
                    }
                    Err(error) => {
                        let refused = row_refused(&error).filter(|_| refusals < MAX_REFUSALS);
                        match refused.and_then(|(at, why)| Some((put.get(at)?.0, why))) {
                            Some((of, why)) => {
                                results[of].push(Err(why));
                                put.retain(|(other, _)| *other != of);
                                refusals += 1;
                            }
                            None => put.drain(..).for_each(|(of, _)| results[of].push(Err(error.clone()))),
                        }
                    }
                }
            }
        }
        let outcomes = embedded.into_iter().zip(results);
        outcomes.map(|((place, embedded), results)| (place, outcome(embedded, results))).collect()
    }

    async fn put(
        &self,
        caller: &Caller,
        embedded: &Placed<Embedded>,
        put: &[Part],
    ) -> Result<(Vec<PutResult>, WriteToken), Error> {
        let Some((first, _)) = put.first() else { return Ok((Vec::new(), WriteToken::Primary)) };
        let space = &embedded[*first].1.item.space;
        let request = PutRequest {
            space_id: space.as_str().to_owned(),
            dimensions: space.dimensions(),
            rows: put.iter().map(|(of, piece)| row(&embedded[*of].1, *piece)).collect(),
        };
        let reply = self.0.store().put(caller.context.request(request)).await?.into_inner();
        if reply.results.len() == put.len() {
            Ok((reply.results, fields::written(&reply.write_token)))
        } else {
            Err(defect("the store answered for other rows than sent"))
        }
    }
}

/// Which row of a message the store would not have, and why.
fn row_refused(error: &Error) -> Option<(usize, Error)> {
    let (at, param) = error.param.as_deref()?.strip_prefix("rows[")?.split_once("].")?;
    let place = format!("rows[{at}]: ");
    let message = error.message.strip_prefix(&place).unwrap_or(&error.message).to_owned();
    let why = Error { message, param: Some(param.into()), ..error.clone() };
    Some((at.parse().ok()?, why))
}

/// Which rows go together. Those of one text stay together wherever one message can hold them, because a message is kept wholly or
/// not at all.
fn puts(embedded: &Placed<Embedded>) -> Vec<Vec<Part>> {
    let mut puts: Vec<Put> = Vec::new();
    for (of, (_, one)) in embedded.iter().enumerate() {
        let sizes: Vec<usize> = (0..row_count(one)).map(|piece| size(one, piece)).collect();
        let together = (sizes.iter().sum(), sizes.len());
        let of_space =
            |put: &Put| put.parts.first().is_some_and(|(at, _)| embedded[*at].1.item.space == one.item.space);
        // only the newest of a space is added to, so that rows stay in order
        let mut open = puts.iter().rposition(of_space).filter(|at| puts[*at].has_room(together));
        for (piece, size) in sizes.into_iter().enumerate() {
            let at = match open.filter(|at| puts[*at].has_room((size, 1))) {
                Some(at) => at,
                None => {
                    puts.push(Put::default());
                    puts.len() - 1
                }
            };
            puts[at].bytes = puts[at].bytes.saturating_add(size);
            puts[at].parts.push((of, piece));
            open = Some(at);
        }
    }
    puts.into_iter().map(|put| put.parts).collect()
}

#[derive(Default)]
struct Put {
    bytes: usize,
    parts: Vec<Part>,
}

impl Put {
    fn has_room(&self, (bytes, rows): (usize, usize)) -> bool {
        self.bytes.saturating_add(bytes) <= MAX_PUT_BYTES && self.parts.len() + rows <= MAX_PUT_ROWS
    }
}

/// The pieces of a text in chunks, else one.
fn row_count(embedded: &Embedded) -> usize {
    embedded.item.cut.as_ref().map_or(1, |cut| cut.pieces.len())
}

/// What a row holds of the text: all of it, its beginning, or a chunk.
fn content(embedded: &Embedded, piece: usize) -> &str {
    let text = &embedded.scrubbed.entry.text;
    piece_of(embedded, piece).and_then(|piece| text.get(piece.range.clone())).unwrap_or(text)
}

fn piece_of(embedded: &Embedded, piece: usize) -> Option<&Piece> {
    embedded.item.cut.as_ref()?.pieces.get(piece)
}

/// A chunk has a vector of its own; what is truncated has that of the text.
fn chunk_of(embedded: &Embedded, piece: usize) -> Option<&Piece> {
    let chunks = embedded.item.cut.as_ref().filter(|cut| cut.action == OnTooLong::Chunk)?;
    chunks.pieces.get(piece)
}

fn size(embedded: &Embedded, piece: usize) -> usize {
    let entry = &embedded.scrubbed.entry;
    // 1 KiB is more than the ids beside them take
    content(embedded, piece).len()
        + entry.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len())
        + embedded.item.vector.len()
        + 1024
}

fn row(embedded: &Embedded, piece: usize) -> PutRow {
    let Embedded { scrubbed, model, item, .. } = embedded;
    let entry = &scrubbed.entry;
    let (vector, tokens, cost) = match chunk_of(embedded, piece) {
        Some(chunk) => (&chunk.vector, chunk.tokens, chunk.cost),
        None => (&item.vector, item.tokens, item.cost),
    };
    PutRow {
        agent_id: entry.route.agent.as_str().to_owned(),
        context_id: entry.context_id.clone().unwrap_or_default(),
        content: content(embedded, piece).to_owned(),
        metadata: entry.metadata.as_ref().map_or("{}", |metadata| metadata.as_str()).to_owned(),
        model: model.clone(),
        provider: item.provider.clone(),
        input_type: entry.route.input_type.as_str().to_owned(),
        task_type: entry.route.task_type.clone(),
        pii_policy_version: scrubbed.pii.policy_version.clone(),
        tokens,
        cost_nano_usd: cost.0,
        vector: vector.clone(),
    }
}

fn outcome(mut embedded: Embedded, results: Vec<Result<Row, Error>>) -> Outcome {
    let results = match results.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(results) => results,
        Err(error) => return Err(not_kept(embedded, &error)),
    };
    embedded.kept = Some(Kept {
        deduplicated: results.iter().all(|(result, _)| result.deduplicated),
        token: results.iter().map(|(_, token)| *token).reduce(WriteToken::and).unwrap_or_default(),
        embedding_ids: results.into_iter().map(|(result, _)| result.embedding_id).collect(),
    });
    Ok(embedded)
}

fn not_kept(embedded: Embedded, why: &Error) -> Refused {
    tracing::error!(code = why.code.as_str(), error = %why, "an embedding that was paid for could not be stored");
    let mut error = if why.code.http().is_client_error() && why.code != Code::Cancelled {
        why.clone()
    } else {
        Error::unavailable(
            "the text was embedded but could not be stored, try again: the vector is cached and costs nothing more",
        )
    };
    error = error.with_detail("embedded", true).with_detail("stored", false);
    error = error.with_detail("cost_usd", embedded.item.cost.to_string());
    Refused { error, embedded: Some(Box::new(embedded)) }
}

#[cfg(test)]
mod tests;
