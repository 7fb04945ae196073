//! How alike two sets of vectors are.

use bytes::Bytes;

/// The median cosine of vectors with those of the same texts; `None` when the sets or the vectors do not fit together.
pub(crate) fn median_cosine(some: &[Bytes], others: &[Bytes]) -> Option<f64> {
    if some.len() != others.len() || some.is_empty() {
        return None;
    }
    let mut cosines = some.iter().zip(others).map(|(a, b)| cosine(a, b)).collect::<Option<Vec<f64>>>()?;
    cosines.sort_by(f64::total_cmp);
    cosines.get(cosines.len() / 2).copied()
}

fn cosine(a: &[u8], b: &[u8]) -> Option<f64> {
    let ((a, _), (b, _)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    (a.len() == b.len()).then_some(())?;
    let (mut dot, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(f32::from_le_bytes(*x)), f64::from(f32::from_le_bytes(*y)));
        (dot, aa, bb) = (dot + x * y, aa + x * x, bb + y * y);
    }
    let cosine = dot / (aa.sqrt() * bb.sqrt());
    cosine.is_finite().then_some(cosine)
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;

    use super::*;

    #[test]
    fn length_does_not_matter_and_one_odd_text_does_not_decide() {
        let (right, up) = (to_le_bytes(&[1.0, 0.0]), to_le_bytes(&[0.0, 3.0]));
        let long = to_le_bytes(&[5.0, 0.0]);
        let median =
            median_cosine(&[right.clone(), right.clone(), up.clone()], &[long.clone(), long.clone(), long]);
        assert_eq!(median, Some(1.0));
        assert_eq!(median_cosine(std::slice::from_ref(&right), std::slice::from_ref(&up)), Some(0.0));
    }

    #[test]
    fn what_does_not_fit_together_is_not_compared() {
        let vector = to_le_bytes(&[1.0, 0.0]);
        for other in [
            vec![],
            vec![vector.clone(), vector.clone()],
            vec![to_le_bytes(&[1.0])],
            vec![to_le_bytes(&[0.0, 0.0])],
        ] {
            assert_eq!(median_cosine(std::slice::from_ref(&vector), &other), None);
        }
    }
}
