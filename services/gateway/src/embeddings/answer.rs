//! What clients are told: of one text, of a batch, of a failure inside one.

use embermesh_errors::Error;
use embermesh_proto::{from_le_bytes, v1};
use serde_json::Value;

use super::{
    Summary,
    caller::Caller,
    defect,
    embed::{Embedded, Outcome, Refused},
};

impl Embedded {
    /// The answer to one text.
    pub(super) fn into_response(self, caller: &Caller) -> Result<v1::EmbedResponse, Error> {
        let Self { scrubbed, model, item, millis, kept } = self;
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
            embedding_id: kept.map(|kept| kept.embedding_id),
            pii: Some(scrubbed.pii),
            metadata: entry.metadata.map(String::from).unwrap_or_default(),
        })
    }
}

/// The answer to a batch, and what its headers say.
pub(super) fn batch(outcomes: Vec<Outcome>, caller: &Caller) -> (v1::EmbedBatchResponse, Summary) {
    let mut summary = Summary::default();
    let mut failed = 0;
    let embeddings: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| {
            let (embedded, error) = match outcome {
                Ok(embedded) => (Some(embedded), None),
                Err(Refused { error, embedded }) => (embedded.map(|paid| *paid), Some(error)),
            };
            match &embedded {
                Some(embedded) => summary.add(&embedded.item),
                None => summary.add_failed(),
            }
            // what was paid for is handed over beside the error
            let (mut entry, error) = match embedded.map(|embedded| embedded.into_response(caller)).transpose()
            {
                Ok(answer) => (answer.map(entry).unwrap_or_default(), error),
                Err(defect) => (v1::BatchEntry::default(), Some(defect)),
            };
            failed += u32::from(error.is_some());
            entry.error = error.map(|error| error_body(error, caller));
            entry
        })
        .collect();
    let answer = v1::EmbedBatchResponse {
        count: u32::try_from(embeddings.len()).unwrap_or(u32::MAX),
        embeddings,
        failed,
        total_cost_nano_usd: summary.cost.0,
        total_tokens: summary.tokens,
    };
    (answer, summary)
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
        error: None,
    }
}

fn error_body(error: Error, caller: &Caller) -> v1::ErrorBody {
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
