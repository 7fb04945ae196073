//! Scaled dot-product attention, each text for itself inside the packed batch.

use std::ops::Range;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use pulp::{Arch, Simd, WithSimd};

use crate::{
    DIMENSIONS,
    exp::exp,
    lanes::{max, sum},
    weights::HEADS,
};

const HEAD: usize = DIMENSIONS / HEADS;
const QKV: usize = 3 * DIMENSIONS;

/// For each text (a range of tokens) and head, `softmax(Q Kᵀ / √d) V`.
///
/// `qkv` holds per token the query, key and value of all heads; `context` receives per token the heads side by side;
/// `scores` needs room for the square of the longest text.
pub(crate) fn attend(
    arch: Arch,
    qkv: &[f32],
    texts: &[Range<usize>],
    scores: &mut [f32],
    context: &mut [f32],
) {
    for text in texts {
        let tokens = text.len();
        let qkv = &qkv[text.start * QKV..text.end * QKV];
        let context = &mut context[text.start * DIMENSIONS..text.end * DIMENSIONS];
        let scores = &mut scores[..tokens * tokens];
        for head in 0..HEADS {
            let part = |which: usize| {
                let first = which * DIMENSIONS + head * HEAD;
                MatRef::from_row_major_slice_with_stride(&qkv[first..], tokens, HEAD, QKV)
            };
            let (query, key, value) = (part(0), part(1), part(2));
            let scale = 1.0 / (HEAD as f32).sqrt();
            let weights = MatMut::from_row_major_slice_mut(&mut *scores, tokens, tokens);
            matmul(weights, Accum::Replace, query, key.transpose(), scale, Par::Seq);
            arch.dispatch(Softmax { rows: &mut *scores, width: tokens });
            // Not `from_row_major_slice_with_stride_mut`: faer 0.24 swaps its strides and writes out of bounds.
            let context = &mut context[head * HEAD..];
            let context = MatMut::from_column_major_slice_with_stride_mut(context, HEAD, tokens, DIMENSIONS);
            let weights = MatRef::from_row_major_slice(&*scores, tokens, tokens);
            matmul(context.transpose_mut(), Accum::Replace, weights, value, 1.0, Par::Seq);
        }
    }
}

/// Softmax of each row, in place.
struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.width) {
            let top = max(row);
            for x in row.iter_mut() {
                *x = exp(*x - top);
            }
            let inverse = 1.0 / sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64, without any layout trick.
    fn by_definition(qkv: &[f32], text: Range<usize>, token: usize, column: usize) -> f64 {
        let at = |token: usize, which: usize, i: usize| f64::from(qkv[token * QKV + which * DIMENSIONS + i]);
        let first = column / HEAD * HEAD;
        let weights: Vec<f64> = text
            .clone()
            .map(|other| (0..HEAD).map(|i| at(token, 0, first + i) * at(other, 1, first + i)).sum::<f64>())
            .map(|dot| (dot / (HEAD as f64).sqrt()).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        text.zip(&weights).map(|(other, weight)| weight * at(other, 2, column)).sum::<f64>() / total
    }

    #[test]
    fn each_text_attends_to_itself_alone() {
        let texts = [0..1, 1..4, 4..23];
        let qkv: Vec<f32> = (0..23 * QKV).map(|i| ((i * 7919) % 2003) as f32 / 2003.0 - 0.5).collect();
        let mut context = vec![0.0; 23 * DIMENSIONS];
        let mut scores = vec![0.0; 19 * 19];
        attend(Arch::new(), &qkv, &texts, &mut scores, &mut context);
        for text in texts {
            for token in text.clone() {
                for column in 0..DIMENSIONS {
                    let exact = by_definition(&qkv, text.clone(), token, column);
                    let got = f64::from(context[token * DIMENSIONS + column]);
                    assert!(
                        (got - exact).abs() < 1e-6,
                        "token {token}, column {column}: {got} is not {exact}"
                    );
                }
            }
        }
    }
}
