//! What fixed texts look like in a space: every deployment of the space is held to it.

use bytes::Bytes;
use embermesh_proto::internal::v1::Reference;
use embermesh_types::SpaceId;

use crate::entry::BadEntry;

/// The recorded vectors of fixed texts in one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceReference {
    /// Names the fixed texts. Vectors of another set of texts say nothing about this one.
    pub texts_version: String,
    /// Little-endian f32 of the space's length, finite, one for each text, in order. At least one.
    pub vectors: Vec<Bytes>,
    /// The deployment that they came from.
    pub deployment: String,
}

impl SpaceReference {
    /// Reads what admin sent about `space`.
    pub(crate) fn read(space: &SpaceId, reference: &Reference) -> Result<Self, BadEntry> {
        let fits = |vector: &Bytes| {
            let (numbers, rest) = vector.as_chunks::<4>();
            u32::try_from(numbers.len()) == Ok(space.dimensions())
                && rest.is_empty()
                && numbers.iter().all(|number| f32::from_le_bytes(*number).is_finite())
        };
        if reference.vectors.is_empty() || !reference.vectors.iter().all(fits) {
            return Err(BadEntry("a reference whose vectors are not of its space"));
        }
        Ok(Self {
            texts_version: reference.texts_version.clone(),
            vectors: reference.vectors.clone(),
            deployment: reference.deployment.clone(),
        })
    }

    /// The message that [`Self::read`] reads.
    pub(crate) fn write(&self, space: &SpaceId) -> Reference {
        Reference {
            space_id: space.to_string(),
            texts_version: self.texts_version.clone(),
            vectors: self.vectors.clone(),
            deployment: self.deployment.clone(),
        }
    }
}
