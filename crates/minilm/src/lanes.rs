//! Sum and maximum of a row, in a form that the compiler turns into vector code: it may not reorder float operations by
//! itself, so the partial results are kept apart here.

/// One AVX-512 register, and four of NEON.
const LANES: usize = 16;

/// The sum of `term` over the row.
#[inline(always)]
pub(crate) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    fold(row, 0.0, |total, x| total + term(x)).iter().sum()
}

/// The greatest of the row.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    fold(row, f32::NEG_INFINITY, greater).into_iter().fold(f32::NEG_INFINITY, greater)
}

#[inline(always)]
fn fold(row: &[f32], start: f32, step: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, *x);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_whatever_the_length() {
        for len in 1..70 {
            let row: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum(&row, |x| 2.0 * x), (len * (len + 1)) as f32);
            for top in 0..len as usize {
                let mut row = vec![-2.0; len as usize];
                row[top] = -1.0;
                assert_eq!(max(&row), -1.0);
            }
        }
    }
}
