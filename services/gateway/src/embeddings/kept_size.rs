//! How much a call under an idempotency key may have to keep. Refused before anything is paid, because an answer that cannot be kept
//! cannot be given out.

use embermesh_errors::{Code, Error};

use super::{EmbeddingParts, Route};

/// All that one call keeps: a batch of 2,048 vectors of 3,072 dimensions, with room for what stands beside them.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Of one text: ids, names and counts.
const AROUND: usize = 1024;
/// What is taken for the length of a vector while the catalog is unknown.
const USUAL_DIMENSIONS: u32 = 3072;

impl EmbeddingParts {
    /// What one text of a route adds to an answer, at most, in bytes.
    pub fn kept_bytes(&self, route: &Route, return_vector: bool, metadata: usize) -> usize {
        let vector = if return_vector { self.dimensions(route) as usize * 4 } else { 0 };
        vector.saturating_add(metadata).saturating_add(AROUND)
    }

    /// The longest vector that a route may give.
    fn dimensions(&self, route: &Route) -> u32 {
        let snapshot = self.subscription.current();
        let native = || match route.model.as_deref().and_then(|id| snapshot.model(id)) {
            Some(model) => Some(model.native_dimensions),
            None => snapshot.models().map(|model| model.native_dimensions).max(),
        };
        route.dimensions.or_else(native).filter(|dimensions| *dimensions > 0).unwrap_or(USUAL_DIMENSIONS)
    }
}

/// Refuses what may be too large to keep.
pub(crate) fn check_kept(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_KEPT_BYTES {
        return Ok(());
    }
    let message = format!(
        "under an idempotency key at most {MAX_KEPT_BYTES} bytes are answered, this may take {bytes}; send fewer texts at a time, \
         or none of their vectors back"
    );
    Err(Error::new(Code::TooLarge, message)
        .with_detail("bytes", bytes)
        .with_detail("max_bytes", MAX_KEPT_BYTES))
}
