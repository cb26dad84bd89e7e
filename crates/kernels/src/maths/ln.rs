//! ln x = k ln 2 + ln(1 + f) with x = 2ᵏ (1 + f) and √½ ≤ 1 + f < √2.

use super::exp::exp;
use super::{LN_2_HIGH, LN_2_LOW, power_of_2};

/// (ln(1 + f) − f + f²/2) / f³, with an error of 2⁻²⁷ relative to ln(1 + f).
const C: [f32; 8] = [
    0.333_333_3,
    -0.250_008_2,
    0.200_012_42,
    -0.166_234_09,
    0.142_015_8,
    -0.131_596_1,
    0.127_622_17,
    -0.076_364_39,
];

/// 1 / (1 + f) with an error of 2⁻⁶: the divisor of the last digits of a sum.
const RECIPROCAL: [f32; 3] = [1.004_995_1, -1.080_612_7, 0.914_238_75];

/// √½.
const LOWEST: u32 = 0x3f35_04f3;

/// k and f of a positive normal x.
#[inline(always)]
fn split(x: f32) -> (i32, f32) {
    let bits = x.to_bits().wrapping_sub(LOWEST);
    let k = bits as i32 >> 23;
    (k, f32::from_bits((bits & 0x7f_ffff) + LOWEST) - 1.0)
}

/// k ln 2 + ln(1 + f) + small.
#[inline(always)]
fn join(k: i32, f: f32, small: f32) -> f32 {
    let k = k as f32;
    let f2 = f * f;
    let f4 = f2 * f2;
    let low = (C[0] + C[1] * f) + f2 * (C[2] + C[3] * f);
    let high = (C[4] + C[5] * f) + f2 * (C[6] + C[7] * f);
    let p = low + f4 * high;
    k * LN_2_HIGH + (f - (0.5 * f2 - (f * f2 * p + (k * LN_2_LOW + small))))
}

/// ln x within 0.9 ulp; −∞ at ±0, NaN below.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // Subnormals have no exponent of their own.
    let small = x < f32::MIN_POSITIVE;
    let (k, f) = split(if small { x * 8_388_608.0 } else { x });
    let y = join(if small { k - 23 } else { k }, f, 0.0);
    let y = if x < f32::INFINITY { y } else { x };
    if x <= 0.0 { if x < 0.0 { f32::NAN } else { f32::NEG_INFINITY } } else { y }
}

/// ln(1 + x) within 1.2 ulp; −∞ at −1, NaN below.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let (k, f) = split(u);
    // The rounding error of u; negligible in the powers of f, and x itself replaces f where k is 0.
    let lost = if x < 1.0 { x - (u - 1.0) } else { 1.0 - (u - x) };
    let over = RECIPROCAL[0] + f * (RECIPROCAL[1] + f * RECIPROCAL[2]);
    let small = lost * power_of_2((-k).max(-127)) * over;
    let whole = k == 0;
    let y = join(k, if whole { x } else { f }, if whole { 0.0 } else { small });
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x <= -1.0 { if x < -1.0 { f32::NAN } else { f32::NEG_INFINITY } } else { y };
    y.copysign(x)
}

/// ln(1 + eˣ) within 1.6 ulp: max(x, 0) + ln(1 + e) with e = exp(−|x|) ≤ 1, which makes the split
/// explicit.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let e = exp(-x.abs());
    // 1 + e = 2 (1 + (e − 1) / 2) from √2 on.
    let two = e > 0.414_213_57;
    let log = join(i32::from(two), if two { 0.5 * (e - 1.0) } else { e }, 0.0);
    (if x < 0.0 { 0.0 } else { x }) + log
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_bits, sweep};
    use super::*;

    #[test]
    fn ln_everywhere() {
        sweep("ln", ln, f64::ln, 0.9);
        let inf = f32::INFINITY;
        assert_bits(ln, &[(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf)]);
        assert!(ln(-1e-45).is_nan() && ln(-1.0).is_nan() && ln(-inf).is_nan());
    }

    #[test]
    fn ln_1p_everywhere() {
        sweep("ln_1p", ln_1p, f64::ln_1p, 1.2);
        let (inf, least) = (f32::INFINITY, f32::from_bits(1));
        assert_bits(ln_1p, &[(0.0, 0.0), (-0.0, -0.0), (-1.0, -inf), (inf, inf)]);
        assert_bits(ln_1p, &[(least, least), (-least, -least)]);
        assert!(ln_1p(-1.000_000_1).is_nan() && ln_1p(-inf).is_nan());
    }

    #[test]
    fn softplus_everywhere() {
        sweep("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 1.6);
        let inf = f32::INFINITY;
        assert_bits(softplus, &[(inf, inf), (-inf, 0.0), (1e30, 1e30), (-1e30, 0.0)]);
    }
}
