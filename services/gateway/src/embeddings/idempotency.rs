//! The same key and body is the same row; another body is a conflict.

use embermesh_types::RequestId;

use super::entry::Entry;

/// The `Idempotency-Key` header of a call, as a request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub RequestId);

/// A hash of what an entry asks for. It is stored, so it is taken after scrubbing: a hash of a short text gives the text away.
pub(crate) fn fingerprint(entry: &Entry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        // length first, so that no two lists of fields run into the same bytes
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let route = &entry.route;
    field(route.agent.as_str().as_bytes());
    field(entry.text.as_bytes());
    field(route.model.as_deref().unwrap_or_default().as_bytes());
    field(route.task_type.as_bytes());
    field(route.input_type.as_str().as_bytes());
    field(&route.dimensions.unwrap_or_default().to_le_bytes());
    field(entry.metadata.as_ref().map_or("", |metadata| metadata.as_str()).as_bytes());
    field(entry.context_id.as_deref().unwrap_or_default().as_bytes());
    *hasher.finalize().as_bytes()
}
