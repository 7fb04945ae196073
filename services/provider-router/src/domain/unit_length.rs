//! Vectors at length 1: what a space promises that some APIs do not keep, above all for shortened vectors.

use bytes::Bytes;

/// A length this near to 1 is left alone: rescaling would only add rounding.
const NEAR: f64 = 1e-3;

/// The vector at length 1; as it is when it has that length.
pub(crate) fn to_unit_length(vector: Bytes) -> Bytes {
    let length = length(&vector);
    if (length - 1.0).abs() <= NEAR { vector } else { scaled(&vector, length) }
}

/// The first `dimensions` numbers of a Matryoshka vector, at length 1.
pub(crate) fn cut(vector: &Bytes, dimensions: u32) -> Option<Bytes> {
    let bytes = usize::try_from(dimensions).ok()?.checked_mul(4)?;
    let beginning = vector.get(..bytes)?;
    let length = length(beginning);
    // a beginning of zeros has no direction
    (length > 0.0).then(|| scaled(beginning, length))
}

/// The mean of vectors by weights, at length 1; `None` when it has no direction or the lengths differ.
pub(crate) fn mean(vectors: &[(Bytes, u64)]) -> Option<Bytes> {
    let (first, _) = vectors.first()?;
    let mut sum = vec![0.0_f64; first.len() / 4];
    for (vector, weight) in vectors {
        (vector.len() == first.len()).then_some(())?;
        let scale = *weight as f64 / length(vector).max(f64::MIN_POSITIVE);
        sum.iter_mut().zip(numbers(vector)).for_each(|(sum, number)| *sum += f64::from(number) * scale);
    }
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    let bytes: Vec<u8> = sum.iter().flat_map(|x| ((x / length) as f32).to_le_bytes()).collect();
    (length > 0.0 && length.is_finite()).then(|| bytes.into())
}

fn numbers(vector: &[u8]) -> impl Iterator<Item = f32> + '_ {
    vector.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// In several sums side by side: in one, each addition would wait for the one before.
fn length(vector: &[u8]) -> f64 {
    const LANES: usize = 8;
    let square = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes)).powi(2);
    let (blocks, rest) = vector.as_chunks::<4>().0.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for block in blocks {
        for (sum, bytes) in sums.iter_mut().zip(block) {
            *sum += square(bytes);
        }
    }
    (sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>()).sqrt()
}

fn scaled(vector: &[u8], length: f64) -> Bytes {
    numbers(vector).flat_map(|x| ((f64::from(x) / length) as f32).to_le_bytes()).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use embermesh_proto::{from_le_bytes, to_le_bytes};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mean_is_weighed_and_has_length_one() {
        let vectors = [(to_le_bytes(&[1.0, 0.0]), 3), (to_le_bytes(&[0.0, 2.0]), 4)];
        let mean = from_le_bytes(&mean(&vectors).unwrap()).unwrap();
        assert!((mean[0] - 0.6).abs() < 1e-6 && (mean[1] - 0.8).abs() < 1e-6, "{mean:?}");
        let opposite = [(to_le_bytes(&[1.0, 0.0]), 1), (to_le_bytes(&[-1.0, 0.0]), 1)];
        assert!(super::mean(&opposite).is_none() && super::mean(&[]).is_none());
    }

    #[test]
    fn a_vector_of_length_one_is_left_as_it_is() {
        let vector = to_le_bytes(&[0.6, 0.8]);
        assert_eq!(to_unit_length(vector.clone()), vector);
        assert_eq!(cut(&vector, 3), None);
        assert_eq!(cut(&to_le_bytes(&[0.0, 1.0]), 1), None);
    }

    proptest! {
        #[test]
        fn a_cut_is_the_beginning_at_length_one(numbers in prop::collection::vec(0.1_f32..1.0, 2..50), share in 0.1_f64..1.0) {
            let dimensions = ((numbers.len() as f64 * share) as u32).max(1);
            let cut = from_le_bytes(&cut(&to_le_bytes(&numbers), dimensions).unwrap()).unwrap();
            prop_assert_eq!(cut.len(), dimensions as usize);
            prop_assert!((cut.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() - 1.0).abs() < 1e-5);
            prop_assert!((cut[0] / numbers[0] - cut[cut.len() - 1] / numbers[cut.len() - 1]).abs() < 1e-4);
        }
    }
}
