//! A stored row as callers see it.

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::StoreRow, to_le_bytes};
use embermesh_types::EmbeddingId;

use super::{spaces::Space, vector_column::Incoming};
use crate::domain::id;

/// The columns that [`read`] expects, in order.
pub(super) const COLUMNS: &str = "embedding_id, agent_id, context_id, content, metadata::text, model, provider, input_type, \
    task_type, pii_policy_version, tokens, cost_nano_usd";

/// [`COLUMNS`] of no row, by their types.
pub(super) const NO_COLUMNS: &str = "NULL::uuid, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, \
    NULL::text, NULL::text, NULL::bigint, NULL::bigint";

/// The columns with the vector, or nothing in its place.
pub(super) fn columns(with_vector: bool) -> String {
    // one type for all spaces, so that they can be read together
    let vector = if with_vector { "embedding::vector" } else { "NULL::vector" };
    format!("{COLUMNS}, {vector} AS embedding")
}

/// Reads [`columns`] that begin at column `first`.
pub(super) fn read(space: &Space, row: &Row, first: usize) -> Result<StoreRow, DbError> {
    let at = |column: usize| first + column;
    let embedding_id = EmbeddingId::new(row.try_get(at(0))?);
    let vector: Option<Incoming> = row.try_get(at(12))?;
    Ok(StoreRow {
        embedding_id: embedding_id.to_string(),
        agent_id: row.try_get(at(1))?,
        context_id: row.try_get::<_, Option<_>>(at(2))?.unwrap_or_default(),
        content: row.try_get(at(3))?,
        metadata: row.try_get(at(4))?,
        model: row.try_get(at(5))?,
        provider: row.try_get(at(6))?,
        space_id: space.id.to_string(),
        dimensions: space.id.dimensions(),
        input_type: row.try_get(at(7))?,
        task_type: row.try_get(at(8))?,
        pii_policy_version: row.try_get(at(9))?,
        tokens: u64::try_from(row.try_get::<_, i64>(at(10))?).unwrap_or_default(),
        cost_nano_usd: row.try_get(at(11))?,
        created_at: Some(id::created_at(embedding_id).into()),
        vector: vector.map(|vector| to_le_bytes(&vector.0)).unwrap_or_default(),
    })
}
