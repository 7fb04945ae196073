//! From the hidden states of a text to its vector: their mean, at length one.

use crate::DIMENSIONS;

/// The L2-normalised mean of the rows of one text, which has at least its two control tokens.
pub(crate) fn mean_normalized(rows: &[f32]) -> Vec<f32> {
    let mut mean = vec![0.0_f32; DIMENSIONS];
    for row in rows.chunks_exact(DIMENSIONS) {
        for (total, x) in mean.iter_mut().zip(row) {
            *total += x;
        }
    }
    // The number of rows cancels in the normalisation. The floor is PyTorch's: a zero vector stays one.
    let length = mean.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
    for x in &mut mean {
        *x = (f64::from(*x) / length) as f32;
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_is_the_mean_and_the_length_is_one() {
        let mut rows = vec![0.0; 2 * DIMENSIONS];
        rows[0] = 5.0;
        rows[DIMENSIONS] = 1.0;
        rows[DIMENSIONS + 1] = 8.0;
        let vector = mean_normalized(&rows);
        assert_eq!((vector[0], vector[1], vector[2]), (0.6, 0.8, 0.0));
    }
}
