//! Checks of vectors: what cannot be compared by angle never gets in, so no distance is ever NaN.

use half::f16;
use serde::{Deserialize, Serialize};

/// How a space keeps its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// Two bytes a number: half the memory of the index at the same recall.
    #[default]
    Half,
    /// Four bytes a number.
    Float,
}

impl Element {
    /// Longest vector that an HNSW index takes.
    pub(crate) const fn indexable_dimensions(self) -> u32 {
        match self {
            Self::Half => 4_000,
            Self::Float => 2_000,
        }
    }

    /// Of one number.
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Half => 2,
            Self::Float => 4,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Float => "float",
        }
    }

    pub(crate) const fn sql_type(self) -> &'static str {
        match self {
            Self::Half => "halfvec",
            Self::Float => "vector",
        }
    }

    pub(crate) const fn operator_class(self) -> &'static str {
        match self {
            Self::Half => "halfvec_cosine_ops",
            Self::Float => "vector_cosine_ops",
        }
    }
}

/// Why numbers are no vector of the space.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum VectorError {
    #[error("it has {got} bytes, a vector of this space has {dimensions} numbers of 4 bytes")]
    Length { got: usize, dimensions: u32 },
    #[error("number {0} is not finite")]
    NotFinite(usize),
    #[error("every number is zero, so it has no direction to compare")]
    Zero,
    #[error("its length {0:e} is outside 1e-15 to 1e15; normalise it")]
    Magnitude(f64),
    #[error("half precision would turn it; normalise it, or set the store's element to float for new spaces")]
    TooFineForHalf,
}

/// The largest turn that half precision may give to a vector, as a cosine. Embeddings of every model measured stay above
/// 0.999999; below this the numbers have left the range of the type.
const HALF_COSINE: f64 = 0.999;
const MAGNITUDES: std::ops::RangeInclusive<f64> = 1e-15..=1e15;

/// Reads little-endian numbers: as many as there are dimensions, finite, not all zero.
pub(crate) fn parse(bytes: &[u8], dimensions: u32) -> Result<Vec<f32>, VectorError> {
    let values =
        embermesh_proto::from_le_bytes(bytes).ok().filter(|values| values.len() == dimensions as usize);
    let values = values.ok_or(VectorError::Length { got: bytes.len(), dimensions })?;
    if let Some(at) = values.iter().position(|x| !x.is_finite()) {
        return Err(VectorError::NotFinite(at));
    }
    if values.iter().all(|x| *x == 0.0) {
        return Err(VectorError::Zero);
    }
    let length = length(&values);
    // PostgreSQL squares and adds in single precision
    if !MAGNITUDES.contains(&length) {
        return Err(VectorError::Magnitude(length));
    }
    Ok(values)
}

/// Whether a space of this element can keep the vector as it is.
pub(crate) fn fits(values: &[f32], element: Element) -> Result<(), VectorError> {
    if element == Element::Float {
        return Ok(());
    }
    let (mut product, mut narrow_square) = (0.0, 0.0);
    for x in values {
        let narrow = f16::from_f32(*x).to_f64();
        product += f64::from(*x) * narrow;
        narrow_square += narrow * narrow;
    }
    let cosine = product / (length(values) * f64::sqrt(narrow_square));
    // infinite and zero vectors give NaN, which is not above anything
    if cosine >= HALF_COSINE { Ok(()) } else { Err(VectorError::TooFineForHalf) }
}

/// The vector of length one in the same direction: half precision keeps it whatever its length was.
pub(crate) fn normalised(values: &[f32]) -> Vec<f32> {
    let length = length(values);
    values.iter().map(|x| (f64::from(*x) / length) as f32).collect()
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;
    use proptest::prelude::*;

    use super::*;

    fn refusal(values: &[f32]) -> VectorError {
        parse(&to_le_bytes(values), 2).unwrap_err()
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        assert_eq!(refusal(&[1.0]), VectorError::Length { got: 4, dimensions: 2 });
        assert_eq!(parse(&[0; 9], 2), Err(VectorError::Length { got: 9, dimensions: 2 }));
        assert_eq!(refusal(&[1.0, f32::NAN]), VectorError::NotFinite(1));
        assert_eq!(refusal(&[f32::NEG_INFINITY, 1.0]), VectorError::NotFinite(0));
        assert_eq!(refusal(&[0.0, -0.0]), VectorError::Zero);
        assert!(matches!(refusal(&[3e38, 0.0]), VectorError::Magnitude(_)));
        assert!(matches!(refusal(&[1e-30, 0.0]), VectorError::Magnitude(_)));
    }

    #[test]
    fn half_precision_takes_what_it_can_hold() {
        assert_eq!(fits(&[0.6, -0.8], Element::Half), Ok(()));
        for extreme in [[70_000.0, 1.0], [1e-9, 1e-9], [1e-7, 1.7e-7]] {
            assert_eq!(fits(&extreme, Element::Half), Err(VectorError::TooFineForHalf), "{extreme:?}");
            assert_eq!(fits(&extreme, Element::Float), Ok(()));
            assert_eq!(fits(&normalised(&extreme), Element::Half), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn normalised_vectors_have_length_one_and_fit(values in prop::collection::vec(-1e3_f32..1e3, 1..64)) {
            prop_assume!(values.iter().any(|x| x.abs() > 1e-3));
            let unit = normalised(&values);
            prop_assert!((length(&unit) - 1.0).abs() < 1e-6);
            prop_assert_eq!(fits(&unit, Element::Half), Ok(()));
        }
    }
}
