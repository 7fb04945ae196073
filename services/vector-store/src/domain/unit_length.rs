//! Models of unit length answer vectors of length 1, which half precision turns into almost 1.

use bytes::Bytes;
use embermesh_proto::{from_le_bytes, to_le_bytes};

/// How far from 1 rounding can move a length.
const ROUNDED: f64 = 2e-3;

/// A stored vector as it was before it was rounded, as far as that can be known: of length 1, if it nearly is.
pub(crate) fn restored(stored: &Bytes) -> Bytes {
    let Ok(values) = from_le_bytes(stored) else { return stored.clone() };
    let length = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if (length - 1.0).abs() > ROUNDED {
        return stored.clone();
    }
    let unit: Vec<f32> = values.iter().map(|x| (f64::from(*x) / length) as f32).collect();
    to_le_bytes(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nearly_of_length_one_becomes_so() {
        let length = |bytes: &Bytes| -> f64 {
            from_le_bytes(bytes).unwrap().iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
        };
        let nearly = to_le_bytes(&[0.6003, 0.8]);
        assert!((length(&restored(&nearly)) - 1.0).abs() < 1e-7 && (length(&nearly) - 1.0).abs() > 1e-4);
        for other in [to_le_bytes(&[3.0, 4.0]), to_le_bytes(&[0.5, 0.5]), to_le_bytes(&[1.0, 0.0])] {
            assert_eq!(restored(&other), other);
        }
    }
}
