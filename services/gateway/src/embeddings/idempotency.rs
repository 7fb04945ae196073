//! When two requests under one key are the same request.

use embermesh_errors::Error;
use embermesh_types::RequestId;

use super::{embed::Scrubbed, entry::Entry};

/// The `Idempotency-Key` header of a call, as a request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub RequestId);

/// A hash of all that an answer depends on. It is stored, so it is taken after scrubbing: a hash of a short text gives the text away.
#[derive(Debug)]
pub(crate) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// Of a request of this kind; those of two kinds are never equal.
    pub fn new(kind: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(&format!("embermesh 2026 idempotency {kind}")))
    }

    /// Adds a part.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        // length first, so that no two lists of fields run into the same bytes
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }

    /// The hash of the parts, in their order.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Of one text.
pub(super) fn of_entry(entry: &Entry) -> [u8; 32] {
    let route = &entry.route;
    let mut fingerprint = Fingerprint::new("of one text");
    fingerprint
        .field(route.agent.as_str().as_bytes())
        .field(entry.text.as_bytes())
        .field(route.model.as_deref().unwrap_or_default().as_bytes())
        .field(route.task_type.as_bytes())
        .field(route.input_type.as_str().as_bytes())
        .field(&route.dimensions.unwrap_or_default().to_le_bytes())
        .field(route.on_too_long.as_str().as_bytes())
        .field(entry.metadata.as_ref().map_or("", |metadata| metadata.as_str()).as_bytes())
        .field(entry.context_id.as_deref().unwrap_or_default().as_bytes())
        .field(&[u8::from(entry.store), u8::from(entry.return_vector)]);
    fingerprint.finish()
}

/// Of a batch. An entry that was refused already is told by its refusal, which is all of it that shows in an answer; its text may hold
/// what nobody has scrubbed.
pub(super) fn of_batch(entries: &[Result<Scrubbed, Error>]) -> [u8; 32] {
    let mut fingerprint = Fingerprint::new("of a batch");
    for entry in entries {
        match entry {
            Ok(Scrubbed { entry, .. }) => {
                let own = entry.request_id.as_ref().map_or("", RequestId::as_str);
                fingerprint.field(&of_entry(entry)).field(own.as_bytes())
            }
            Err(error) => fingerprint
                .field(error.code.as_str().as_bytes())
                .field(error.message.as_bytes())
                .field(error.param.as_deref().unwrap_or_default().as_bytes()),
        };
    }
    fingerprint.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use embermesh_proto::v1;
    use serde_json::{Value, json};

    use super::*;
    use crate::embeddings::{EmbeddingLimits, caller::Caller, stand_ins::context};

    fn of(request: Value) -> [u8; 32] {
        let caller = Caller { context: context(None), idempotency_key: None };
        let request: v1::EmbedRequest = serde_json::from_value(request).unwrap();
        of_entry(&Entry::parse(request, &caller, &EmbeddingLimits::default()).unwrap())
    }

    #[test]
    fn whatever_may_change_the_answer_changes_the_fingerprint() {
        let requests = [
            json!({"text": "x"}),
            json!({"text": "y"}),
            json!({"text": "x", "agent_id": "a"}),
            json!({"text": "x", "model": "m"}),
            json!({"text": "x", "task_type": "research"}),
            json!({"text": "x", "input_type": "query"}),
            json!({"text": "x", "dimensions": 8}),
            json!({"text": "x", "on_too_long": "chunk"}),
            json!({"text": "x", "on_too_long": "truncate"}),
            json!({"text": "x", "metadata": {"a": 1}}),
            json!({"text": "x", "metadata": {"a": 2}}),
            json!({"text": "x", "context_id": "m"}),
            json!({"text": "x", "store": false}),
            json!({"text": "x", "return_vector": false}),
        ];
        let count = requests.len();
        assert_eq!(requests.map(of).into_iter().collect::<HashSet<_>>().len(), count);
    }

    #[test]
    fn a_default_that_is_written_out_is_the_same_request() {
        let written = json!({
            "text": "x", "agent_id": "default", "task_type": "general_qa", "input_type": "document", "store": true,
            "return_vector": true, "on_too_long": "error", "request_id": "r",
        });
        assert_eq!(of(written), of(json!({"text": "x"})));
    }
}
