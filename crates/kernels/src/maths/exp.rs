//! eˣ = 2ⁿ eʳ with n = round(x / ln 2) and r = x − n ln 2, so that |r| ≤ ln 2 / 2.

use super::{LN_2_HIGH, LN_2_LOW, at_most, power_of_2};
use std::f32::consts::LOG2_E;

/// (eʳ − 1 − r) / r² for |r| ≤ ln 2 / 2, with an error of 2⁻²⁸ relative to eʳ.
const C: [f32; 5] = [0.5, 0.166_665_21, 0.041_666_39, 8.368_679e-3, 1.394_187_8e-3];

/// 1.5 · 2²³: adding it rounds to an integer, held by the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// n and r.
#[inline(always)]
pub(super) fn reduce(x: f32) -> (i32, f32) {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    (bits, (x - n * LN_2_HIGH) - n * LN_2_LOW)
}

/// eʳ − 1.
#[inline(always)]
pub(super) fn exp_m1_of_reduced(r: f32) -> f32 {
    // Estrin's scheme: half as long a dependency chain as Horner's.
    let r2 = r * r;
    let q = (C[0] + C[1] * r) + r2 * ((C[2] + C[3] * r) + C[4] * r2);
    r + r2 * q
}

/// eˣ within 1 ulp.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond ±104 the result is ∞ or 0; two factors reach every exponent in between.
    let x = at_most(x, 104.0);
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, r) = reduce(x);
    let half = n >> 1;
    let y = 1.0 + exp_m1_of_reduced(r);
    y * power_of_2(half) * power_of_2(n.wrapping_sub(half))
}

/// eˣ within 1 ulp for x up to 88, and 0 below −87: a weight among others. It avoids subnormals,
/// which are slow on CPUs.
#[inline(always)]
pub(crate) fn exp_weight(x: f32) -> f32 {
    const LEAST: f32 = -87.0;
    let bounded = at_most(x, 88.0);
    let bounded = if bounded < LEAST { LEAST } else { bounded };
    let (n, r) = reduce(bounded);
    let y = (1.0 + exp_m1_of_reduced(r)) * power_of_2(n);
    if x < LEAST { 0.0 } else { y }
}

/// eˣ − 1 within 1.6 ulp: 2ⁿ (eʳ − 1) + (2ⁿ − 1).
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    let bounded = at_most(x, 89.0);
    let bounded = if bounded < -20.0 { -20.0 } else { bounded };
    let (n, r) = reduce(bounded);
    let p = exp_m1_of_reduced(r);
    // Half the power, since 2¹²⁸ is not an f32.
    let half = power_of_2(n.wrapping_sub(1));
    let y = 2.0 * (half * p + (half - 0.5));
    // With n = 0, even the smallest x keeps its precision.
    (if n == 0 { p } else { y }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_bits, sweep};
    use super::*;

    #[test]
    fn exp_everywhere() {
        sweep("exp", exp, f64::exp, 1.0);
        let inf = f32::INFINITY;
        assert_bits(exp, &[(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (1e-30, 1.0)]);
        // The last finite result, the first infinite one; the smallest above 0, and the first 0.
        assert!(exp(88.722_83).is_finite());
        assert_bits(exp, &[(88.722_84, inf), (-103.972_07, f32::from_bits(1)), (-103.98, 0.0)]);
    }

    #[test]
    fn weights_are_exp_without_its_smallest_values() {
        for i in 0..2_000_000 {
            let x = i as f32 * -5e-5;
            let (found, expected) = (f64::from(exp_weight(x)), f64::from(x).exp());
            let ulp = expected * f64::from(f32::EPSILON);
            let right = if x < -87.0 { found == 0.0 } else { (found - expected).abs() <= ulp };
            assert!(right, "{x}: {found:e}, expected {expected:e}");
        }
        let inf = f32::INFINITY;
        assert_bits(exp_weight, &[(0.0, 1.0), (-0.0, 1.0), (-inf, 0.0), (-1e30, 0.0)]);
        assert!(exp_weight(f32::NAN).is_nan() && exp_weight(88.0).is_finite());
    }

    #[test]
    fn exp_m1_everywhere() {
        sweep("exp_m1", exp_m1, f64::exp_m1, 1.6);
        let (inf, least) = (f32::INFINITY, f32::from_bits(1));
        assert_bits(exp_m1, &[(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0), (-1e3, -1.0)]);
        assert_bits(exp_m1, &[(least, least), (-least, -least), (88.722_84, inf)]);
    }
}
