//! erf x = 2/√π ∫₀ˣ exp(−t²) dt, and the normal distribution behind GELU.

use super::at_most;
use super::exp::exp;
use std::f32::consts::FRAC_1_SQRT_2;

/// erf(x)/x − 1 in x² for |x| ≤ 1, with an error of 2⁻²⁹ relative to erf(x)/x.
const NEAR: [f32; 7] = [
    0.128_379_17,
    -0.376_126_26,
    0.112_835_79,
    -0.026_853_347,
    5.187_162e-3,
    -7.997_853e-4,
    7.806_903e-5,
];

/// exp(a²) erfc(a) = P(a) / Q(a) for 0 ≤ a ≤ 10, with a relative error of 2⁻²⁵.
const P: [f32; 5] = [1.0, 1.235_623_1, 0.728_685_56, 0.227_828_03, 0.032_503_117];
const Q: [f32; 6] = [1.0, 2.364_002_7, 2.396_169, 1.319_919_1, 0.403_842_42, 0.057_609_53];

/// exp(a²) erfc(a) for a ≥ 0.
#[inline(always)]
fn scaled_erfc(a: f32) -> f32 {
    let (a2, a4) = (a * a, (a * a) * (a * a));
    let p = (P[0] + P[1] * a) + a2 * (P[2] + P[3] * a) + a4 * P[4];
    let q = (Q[0] + Q[1] * a) + a2 * (Q[2] + Q[3] * a) + a4 * (Q[4] + Q[5] * a);
    p / q
}

/// erf x within 1.2 ulp: x times a polynomial of x² up to 1, else 1 − exp(−x²) · [`scaled_erfc`].
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    // Beyond 4 the result is 1.
    let a = at_most(x.abs(), 4.0);
    let s = a * a;
    let s2 = s * s;
    let near = (NEAR[0] + NEAR[1] * s)
        + s2 * ((NEAR[2] + NEAR[3] * s) + s2 * ((NEAR[4] + NEAR[5] * s) + s2 * NEAR[6]));
    let far = 1.0 - exp(-s) * scaled_erfc(a);
    (if a < 1.0 { a + a * near } else { far }).copysign(x)
}

/// Φ(x) and φ(x) of the standard normal distribution from one exponential: φ = exp(−x²/2) / √(2π),
/// and ½ exp(−x²/2) · [`scaled_erfc`]\(|x|/√2\) is Φ(x) left of 0 and 1 − Φ(x) right of it.
///
/// Φ is within 2.8 ulp for x ≥ 0; below, and for φ, rounding x² counts too: the relative error is
/// at most (6 + x²/2) 2⁻²⁴ where the result is a normal number.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    // Beyond 15 the tail is 0.
    let a = at_most(x.abs(), 15.0);
    let e = exp(-0.5 * (a * a));
    let tail = 0.5 * e * scaled_erfc(a * FRAC_1_SQRT_2);
    (if x < 0.0 { tail } else { 1.0 - tail }, e * 0.398_942_3)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_bits, samples, sweep};
    use super::*;

    #[test]
    fn erf_everywhere() {
        sweep("erf", erf, libm::erf, 1.2);
        let (inf, least) = (f32::INFINITY, f32::from_bits(1));
        assert_bits(erf, &[(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (5.0, 1.0)]);
        assert_bits(erf, &[(least, least * 1.128), (-least, -least * 1.128)]);
    }

    #[test]
    fn the_normal_distribution_everywhere() {
        let cumulative = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        sweep("Φ for x ≥ 0", |x| normal(x.abs()).0, |x| cumulative(x.abs()), 2.8);
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        for x in samples().filter(|x| !x.is_nan()) {
            let (found, wide) = (normal(x), f64::from(x).clamp(-99.0, 99.0));
            for (found, exact) in [(found.0, cumulative(wide)), (found.1, density(wide))] {
                let most = (6.0 + 0.5 * wide * wide) * 2f64.powi(-24) * exact;
                let error = (f64::from(found) - exact).abs();
                // Below the normal range, the bound grows by one unit of the subnormals.
                assert!(error <= most + 2f64.powi(-149), "{x}: {found} {exact}");
            }
        }
        let inf = f32::INFINITY;
        assert_eq!((normal(inf), normal(-inf), normal(0.0).0), ((1.0, 0.0), (0.0, 0.0), 0.5));
        assert!(normal(f32::NAN).0.is_nan() && normal(f32::NAN).1.is_nan());
    }
}
