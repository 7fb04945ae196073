//! What clients are told: of one text, of a batch, of a failure inside one.

use embermesh_errors::Error;
use embermesh_proto::{from_le_bytes, v1};
use embermesh_types::WriteToken;
use serde_json::Value;

use super::{
    caller::Caller,
    defect,
    embed::{Embedded, Kept},
    fields,
    too_long::{Cut, Piece},
};

/// Why a text has no answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub error: Error,
    /// What was paid for nevertheless.
    pub paid: Option<Box<v1::EmbedResponse>>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, paid: None }
    }
}

/// What a text is answered.
pub(super) type Reply = Result<v1::EmbedResponse, Refusal>;

impl Embedded {
    /// The answer to one text.
    pub(super) fn into_response(self, caller: &Caller) -> Result<v1::EmbedResponse, Error> {
        let Self { scrubbed, model, instead_of, item, millis, kept } = self;
        let entry = scrubbed.entry;
        let embedding = if entry.return_vector {
            from_le_bytes(&item.vector).map_err(|_| defect("a vector is no multiple of four bytes"))?
        } else {
            Vec::new()
        };
        let request_id = entry.request_id.unwrap_or_else(|| caller.context.request_id.clone());
        Ok(v1::EmbedResponse {
            request_id: request_id.into(),
            agent_id: entry.route.agent.into(),
            model_used: model,
            provider: item.provider,
            dimensions: item.space.dimensions(),
            space_id: item.space.into(),
            embedding,
            cost_nano_usd: item.cost.0,
            tokens_used: item.tokens,
            generation_time_ms: millis,
            cached: item.cached,
            deduplicated: kept.as_ref().is_some_and(|kept| kept.deduplicated),
            too_long: item.cut.as_ref().map(|cut| too_long(cut, kept.as_ref())),
            write_token: kept.as_ref().map(|kept| kept.token.to_string()),
            embedding_id: kept.and_then(|kept| kept.embedding_ids.into_iter().next()),
            instead_of_space_id: instead_of.map(String::from),
            pii: Some(scrubbed.pii),
            metadata: entry.metadata.map(String::from).unwrap_or_default(),
        })
    }
}

fn too_long(cut: &Cut, kept: Option<&Kept>) -> v1::TooLong {
    let id = |at: usize| kept.and_then(|kept| kept.embedding_ids.get(at)).cloned();
    let chunk = |(at, piece): (usize, &Piece)| v1::Chunk {
        embedding_id: id(at),
        start: piece.range.start as u64,
        end: piece.range.end as u64,
        tokens: piece.tokens,
    };
    v1::TooLong {
        action: cut.action.as_str().to_owned(),
        tokens: cut.tokens,
        tokens_exact: cut.tokens_exact,
        limit: cut.limit,
        chunks: cut.pieces.iter().enumerate().map(chunk).collect(),
    }
}

/// The answer to a batch.
pub(super) fn batch(replies: Vec<Reply>, caller: &Caller) -> v1::EmbedBatchResponse {
    let mut answer = v1::EmbedBatchResponse {
        count: u32::try_from(replies.len()).unwrap_or(u32::MAX),
        embeddings: Vec::with_capacity(replies.len()),
        ..Default::default()
    };
    let mut written = None;
    for reply in replies {
        let (embedded, error) = match reply {
            Ok(embedded) => (Some(embedded), None),
            // what was paid for is handed over beside the error
            Err(Refusal { error, paid }) => (paid.map(|paid| *paid), Some(error)),
        };
        let mut entry = embedded.map(entry).unwrap_or_default();
        if let Some(token) = &entry.write_token {
            let token = fields::written(token);
            written = Some(written.map_or(token, |written: WriteToken| written.and(token)));
        }
        answer.failed += u32::from(error.is_some());
        answer.total_cost_nano_usd =
            answer.total_cost_nano_usd.saturating_add(entry.cost_nano_usd.unwrap_or(0));
        answer.total_tokens = answer.total_tokens.saturating_add(entry.tokens_used.unwrap_or(0));
        entry.error = error.map(|error| error_body(error, caller));
        answer.embeddings.push(entry);
    }
    answer.write_token = written.map(|token| token.to_string());
    answer
}

fn entry(answer: v1::EmbedResponse) -> v1::BatchEntry {
    v1::BatchEntry {
        embedding_id: answer.embedding_id,
        request_id: Some(answer.request_id),
        agent_id: Some(answer.agent_id),
        model_used: Some(answer.model_used),
        provider: Some(answer.provider),
        space_id: Some(answer.space_id),
        dimensions: Some(answer.dimensions),
        embedding: answer.embedding,
        cost_nano_usd: Some(answer.cost_nano_usd),
        tokens_used: Some(answer.tokens_used),
        generation_time_ms: Some(answer.generation_time_ms),
        cached: Some(answer.cached),
        deduplicated: Some(answer.deduplicated),
        pii: answer.pii,
        metadata: answer.metadata,
        too_long: answer.too_long,
        instead_of_space_id: answer.instead_of_space_id,
        write_token: answer.write_token,
        error: None,
    }
}

fn error_body(mut error: Error, caller: &Caller) -> v1::ErrorBody {
    if let Some(after) = error.retry_after {
        // an entry has no headers, so what would be Retry-After stands here
        error = error.with_detail("retry_after_seconds", after.as_millis().div_ceil(1000) as u64);
    }
    let details =
        if error.details.is_empty() { String::new() } else { Value::Object(error.details).to_string() };
    v1::ErrorBody {
        code: error.code.as_str().to_owned(),
        message: error.message,
        r#type: error.code.openai_type().to_owned(),
        param: error.param,
        request_id: caller.context.request_id.as_str().to_owned(),
        details,
    }
}
