//! σ(x) = 1 / (1 + e⁻ˣ) and tanh x = 2 σ(2x) − 1, each in its numerically stable form.

use super::exp::{exp, exp_m1_of_reduced, reduce};
use super::{at_most, power_of_2};

/// σ(x) within 2.1 ulp, also far to the left: with e = exp(−|x|), 1 / (1 + e) for x ≥ 0 and e / (1
/// + e) below.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// tanh x within 2.4 ulp: t / (t + 2) with t = exp(2|x|) − 1, and the sign of x.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Beyond 9.02 the result is 1.
    let (n, r) = reduce(2.0 * at_most(x.abs(), 10.0));
    let power = power_of_2(n);
    let t = power * exp_m1_of_reduced(r) + (power - 1.0);
    (t / (t + 2.0)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_bits, sweep};
    use super::*;

    #[test]
    fn sigmoid_everywhere() {
        // The exponential loses no digits for negative x.
        sweep("sigmoid", sigmoid, |x| x.min(0.0).exp() / (1.0 + (-x.abs()).exp()), 2.1);
        let inf = f32::INFINITY;
        assert_bits(sigmoid, &[(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (1e30, 1.0)]);
    }

    #[test]
    fn tanh_everywhere() {
        sweep("tanh", tanh, f64::tanh, 2.4);
        let (inf, least) = (f32::INFINITY, f32::from_bits(1));
        assert_bits(tanh, &[(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (9.1, 1.0)]);
        assert_bits(tanh, &[(least, least), (-least, -least)]);
    }
}
