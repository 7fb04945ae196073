//! N inputs in, N vectors out: what a provider's answer must be before anybody sees it.

use bytes::Bytes;
use pulp::Arch;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not one vector per input.
    #[error("{got} vectors for {asked} inputs")]
    Count {
        /// Inputs sent.
        asked: usize,
        /// Vectors received.
        got: usize,
    },
    /// An index that is missing or there twice.
    #[error("index {0} is missing or repeated")]
    Index(usize),
    /// A vector of another length.
    #[error("vector {at} has {got} dimensions, expected {expected}")]
    Dimensions {
        /// Which vector.
        at: usize,
        /// Its length.
        got: usize,
        /// The space's length.
        expected: usize,
    },
    /// NaN or infinity.
    #[error("vector {0} holds a number that is not finite")]
    NotFinite(usize),
    /// A vector without direction.
    #[error("vector {0} is all zeros")]
    Zero(usize),
}

/// Puts vectors with their indices into the order of the inputs, each index exactly once. Where none has an index, they are in
/// order already.
pub(crate) fn in_order(asked: usize, vectors: Vec<(Option<usize>, Bytes)>) -> Result<Vec<Bytes>, BadAnswer> {
    if vectors.len() != asked {
        return Err(BadAnswer::Count { asked, got: vectors.len() });
    }
    if vectors.iter().all(|(index, _)| index.is_none()) {
        return Ok(vectors.into_iter().map(|(_, vector)| vector).collect());
    }
    let mut ordered: Vec<Option<Bytes>> = vec![None; asked];
    for (at, (index, vector)) in vectors.into_iter().enumerate() {
        let index = index.ok_or(BadAnswer::Index(at))?;
        match ordered.get_mut(index) {
            Some(slot @ None) => *slot = Some(vector),
            _ => return Err(BadAnswer::Index(index)),
        }
    }
    Ok(ordered.into_iter().flatten().collect())
}

/// Checks that every vector has the space's length, is finite and has a direction.
pub fn check(vectors: &[Bytes], asked: usize, dimensions: u32) -> Result<(), BadAnswer> {
    if vectors.len() != asked {
        return Err(BadAnswer::Count { asked, got: vectors.len() });
    }
    let expected = usize::try_from(dimensions).unwrap_or(usize::MAX);
    for (at, vector) in vectors.iter().enumerate() {
        let (numbers, rest) = vector.as_chunks::<4>();
        if numbers.len() != expected || !rest.is_empty() {
            return Err(BadAnswer::Dimensions { at, got: numbers.len(), expected });
        }
        match largest(numbers) {
            0 => return Err(BadAnswer::Zero(at)),
            INFINITE.. => return Err(BadAnswer::NotFinite(at)),
            _ => {}
        }
    }
    Ok(())
}

/// The bits of infinity; those of every NaN are above.
const INFINITE: i32 = 0x7f80_0000;

/// The bits of the largest number but for its sign. Numbers are in the order of their bits, so that this tells of all of them at once.
fn largest(numbers: &[[u8; 4]]) -> i32 {
    let bits = |number: &[u8; 4]| i32::from_le_bytes(*number) & i32::MAX;
    Arch::new().dispatch(|| numbers.iter().fold(0, |largest, number| largest.max(bits(number))))
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_bad_vector_is_found() {
        let good = to_le_bytes(&[0.6, 0.8]);
        assert_eq!(check(&[good.clone(), good.clone()], 2, 2), Ok(()));
        assert_eq!(check(std::slice::from_ref(&good), 2, 2), Err(BadAnswer::Count { asked: 2, got: 1 }));
        let long = to_le_bytes(&[1.0, 0.0, 0.0]);
        assert_eq!(
            check(&[good.clone(), long], 2, 2),
            Err(BadAnswer::Dimensions { at: 1, got: 3, expected: 2 })
        );
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check(&[to_le_bytes(&[1.0, bad])], 1, 2), Err(BadAnswer::NotFinite(0)));
        }
        assert_eq!(check(&[to_le_bytes(&[0.0, -0.0])], 1, 2), Err(BadAnswer::Zero(0)));
        assert_eq!(check(&[to_le_bytes(&[f32::MAX, f32::MIN_POSITIVE / 2.0])], 1, 2), Ok(()));
    }

    proptest! {
        #[test]
        fn any_permutation_is_put_in_order(order in Just((0_usize..20).collect::<Vec<_>>()).prop_shuffle()) {
            let vector = |i: usize| Bytes::from(vec![u8::try_from(i).unwrap()]);
            let answer = order.iter().map(|i| (Some(*i), vector(*i))).collect();
            let expected: Vec<Bytes> = (0..20).map(vector).collect();
            prop_assert_eq!(in_order(20, answer), Ok(expected));
        }

        #[test]
        fn a_repeated_index_is_refused(twice in 0_usize..5, instead in 0_usize..5) {
            prop_assume!(twice != instead);
            let index = |i| Some(if i == instead { twice } else { i });
            let answer = (0..5).map(|i| (index(i), Bytes::new())).collect();
            prop_assert!(matches!(in_order(5, answer), Err(BadAnswer::Index(_))));
        }
    }
}
