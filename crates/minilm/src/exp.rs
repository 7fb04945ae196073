//! `exp` in a form that the compiler turns into vector code: no branch, no table, no call.

use std::f32::consts::LOG2_E;

/// `exp(x)` to 2 ulp between −87 and 88, clamped to that range outside of it.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Added to a small float, this leaves the nearest integer plus the exponent bias in the low bits of the mantissa:
    // the sum is at once the rounding and, shifted into the exponent field, the power of two.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    // ln 2 in two parts, the first short enough for its multiples to be exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    let x = x.clamp(-87.0, 88.0);
    let biased = x.mul_add(LOG2_E, ROUND);
    let n = biased - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    // Taylor's series; at |r| ≤ ln 2 / 2 the first term left out is 5e-9.
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    p * f32::from_bits(biased.to_bits() << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_library_over_its_range() {
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn is_finite_everywhere() {
        for x in [f32::NEG_INFINITY, -1e30, -88.0, 89.0, 1e30, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp(x) > 0.0, "exp({x}) = {}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
    }
}
