//! Bias and GELU in one pass over the widest activations of a layer.

use pulp::{Arch, Simd, WithSimd};

use crate::exp::exp;

/// Adds `bias` to each row and applies GELU in its exact form, `x · Φ(x)`, in place.
pub(crate) fn add_bias_gelu(arch: Arch, rows: &mut [f32], bias: &[f32]) {
    arch.dispatch(AddBiasGelu { rows, bias });
}

/// Not a closure: its body would be compiled without the vector features, and the whole forward pass take twice as long.
struct AddBiasGelu<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for AddBiasGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (x, b) in row.iter_mut().zip(self.bias) {
                *x = gelu(*x + b);
            }
        }
    }
}

/// `x · Φ(x)` with `erfc` after Abramowitz and Stegun, formula 7.1.26: absolute error of Φ under 8e-8.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    // Halved, since Φ needs erfc / 2. Rounded to f32 from the published nine digits.
    const A: [f32; 5] = [0.127_414_8, -0.142_248_36, 0.710_706_9, -0.726_576_03, 0.530_702_7];

    let t = 1.0 / x.abs().mul_add(P, 1.0);
    let poly = t.mul_add(A[4], A[3]).mul_add(t, A[2]).mul_add(t, A[1]).mul_add(t, A[0]) * t;
    let tail = poly * exp(-0.5 * x * x);
    // The tail is Φ itself on the negative side: no cancellation there.
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ by integrating the density from 0, far finer than the bar.
    fn phi(x: f64) -> f64 {
        let steps = 4_000;
        let h = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let inner: f64 =
            (1..steps).map(|i| density(h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        0.5 + (density(0.0) + inner + density(x)) * h / 3.0
    }

    #[test]
    fn agrees_with_the_integral_of_the_density() {
        for step in -120..=120 {
            let x = step as f32 * 0.1;
            let exact = f64::from(x) * phi(f64::from(x));
            assert!(
                (f64::from(gelu(x)) - exact).abs() < 5e-7 * f64::from(x).abs().max(1.0),
                "gelu({x}) is {}",
                gelu(x)
            );
        }
    }

    #[test]
    fn every_row_gets_the_bias() {
        let bias: Vec<f32> = (0..19).map(|i| i as f32 * 0.25 - 2.0).collect();
        let mut rows: Vec<f32> = (0..57).map(|i| (i % 7) as f32 * 0.5 - 1.5).collect();
        let expected: Vec<f32> = rows.iter().enumerate().map(|(i, x)| gelu(x + bias[i % 19])).collect();
        add_bias_gelu(Arch::new(), &mut rows, &bias);
        for (got, expected) in rows.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }
}
