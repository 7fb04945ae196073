//! Bias and layer normalisation in one visit of each row. The residual is already there: the matrix product before it
//! accumulates into the hidden state.

use pulp::{Arch, Simd, WithSimd};

use crate::lanes::sum;

/// Scale and shift of one layer normalisation.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

const EPSILON: f32 = 1e-12;

/// Adds `bias` to each row and normalises it, in place.
pub(crate) fn add_bias_layer_norm(arch: Arch, rows: &mut [f32], bias: &[f32], norm: &LayerNorm) {
    arch.dispatch(AddBiasLayerNorm { rows, bias, norm });
}

struct AddBiasLayerNorm<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    norm: &'a LayerNorm,
}

impl WithSimd for AddBiasLayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (x, b) in row.iter_mut().zip(self.bias) {
                *x += b;
            }
            normalize(row, self.norm);
        }
    }
}

#[inline(always)]
fn normalize(row: &mut [f32], norm: &LayerNorm) {
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    // Two passes: the row is in L1, and the one-pass formula cancels.
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / (variance + EPSILON).sqrt();
    for ((x, scale), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
        *x = ((*x - mean) * inverse).mul_add(*scale, *shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_mean_shift_and_deviation_scale() {
        let width = 37;
        let bias: Vec<f32> = (0..width).map(|i| (i % 5) as f32).collect();
        let norm = LayerNorm { scale: vec![3.0; width], shift: vec![-2.0; width] };
        let mut rows: Vec<f32> = (0..width * 3).map(|i| ((i * 7919) % 101) as f32 * 0.3).collect();
        add_bias_layer_norm(Arch::new(), &mut rows, &bias, &norm);
        for row in rows.chunks_exact(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
            assert!((mean + 2.0).abs() < 1e-4, "mean {mean}");
            assert!((variance.sqrt() - 3.0).abs() < 1e-3, "deviation {}", variance.sqrt());
        }
    }
}
