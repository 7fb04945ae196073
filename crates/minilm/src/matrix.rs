//! Weights of a linear map, laid out for the product that uses them, and that product.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

/// A linear map `outputs × inputs`, stored input-major: for one input, all outputs side by side.
///
/// That is the transpose of what the file holds. It is the order in which `faer`'s kernels read the operand that they
/// vectorise over, so that no product has to transpose anything.
#[derive(Debug)]
pub(crate) struct Linear {
    weights: Vec<f32>,
    outputs: usize,
}

impl Linear {
    /// Joins maps of the same inputs into one, side by side, from the file's rows-are-outputs order.
    pub fn joined(inputs: usize, parts: &[Vec<f32>]) -> Self {
        let outputs = parts.iter().map(|part| part.len() / inputs).sum();
        let mut weights = vec![0.0; inputs * outputs];
        for (output, row) in parts.iter().flat_map(|part| part.chunks_exact(inputs)).enumerate() {
            for (input, weight) in row.iter().enumerate() {
                weights[input * outputs + output] = *weight;
            }
        }
        Self { weights, outputs }
    }

    /// `y = x W`, or `y += x W`, for rows of tokens.
    pub fn apply(&self, y: &mut [f32], accumulate: Accum, x: &[f32]) {
        let inputs = self.weights.len() / self.outputs;
        let tokens = x.len() / inputs;
        matmul(
            MatMut::from_row_major_slice_mut(y, tokens, self.outputs),
            accumulate,
            MatRef::from_row_major_slice(x, tokens, inputs),
            MatRef::from_row_major_slice(&self.weights, inputs, self.outputs),
            1.0,
            Par::Seq,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_maps_give_their_outputs_side_by_side() {
        let doubles = vec![2.0, 0.0, 0.0, 2.0];
        let sum = vec![1.0, 1.0];
        let map = Linear::joined(2, &[doubles, sum]);
        let mut y = [0.0; 6];
        map.apply(&mut y, Accum::Replace, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(y, [2.0, 4.0, 3.0, 6.0, 8.0, 7.0]);
        map.apply(&mut y, Accum::Add, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(y, [4.0, 8.0, 6.0, 12.0, 16.0, 14.0]);
    }
}
