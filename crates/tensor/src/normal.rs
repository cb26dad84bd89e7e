//! Normal random numbers from uniform ones (Box and Muller, 1958), in arithmetic alone: loops over
//! them become vector code, and no system's mathematical library has a say in the initial weights
//! of a network.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// ln 2 as a number of 21 bits, whose products with exponents are exact, and the rest.
const LN_2: [f64; 2] = [0.693_146_705_627_441_4, 4.749_325_039_031_672_6e-7];
/// 1 / (2k + 1), the series of artanh(s) / s − 1 in s² from k = 1 on. |s| is at most 0.172, so that
/// the first term left out is below 2⁻⁵⁵.
const ARTANH: [f64; 10] = [
    1.0 / 3.0,
    1.0 / 5.0,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
    1.0 / 21.0,
];
/// ±(2π)ⁿ / n!, the series of sin(2πr) / r and cos(2πr) in r², for |r| ≤ ⅛.
const SIN: [f64; 9] = [
    TAU,
    -41.341_702_240_399_76,
    81.605_249_276_075_06,
    -76.705_859_753_061_39,
    42.058_693_944_897_655,
    -15.094_642_576_822_99,
    3.819_952_584_848_282,
    -0.718_122_301_778_500_6,
    0.104_229_162_208_139_84,
];
const COS: [f64; 10] = [
    1.0,
    -19.739_208_802_178_716,
    64.939_394_022_668_3,
    -85.456_817_206_693_73,
    60.244_641_371_876_66,
    -26.426_256_783_374_4,
    7.903_536_371_318_469,
    -1.714_390_711_088_672,
    0.282_005_968_455_791_23,
    -0.036_382_841_142_545_67,
];

/// The exponent of 2⁵²: numbers of 52 bits below it are whole.
const WHOLE: u64 = 0x433 << 52;
const MANTISSA: u64 = (1 << 52) - 1;

/// √(−2 ln(1 − u)) cos 2πv of u and v in `[0, 1)`, multiples of 2⁻⁵³.
#[inline(always)]
pub(crate) fn box_muller(u: f64, v: f64) -> f64 {
    (-2.0 * ln(1.0 - u)).sqrt() * cos_turns(v)
}

/// Σ cₙ xⁿ.
#[inline(always)]
fn polynomial<const N: usize>(c: &[f64; N], x: f64) -> f64 {
    let mut sum = c[N - 1];
    for n in (0..N - 1).rev() {
        sum = sum * x + c[n];
    }
    sum
}

/// ln w of a normal number w in `(0, 1]`, within 1.5 ulp: w = 2ᵉ m with m from √½ to √2, and
/// ln m = 2 artanh((m − 1) / (m + 1)).
#[inline(always)]
fn ln(w: f64) -> f64 {
    let least = FRAC_1_SQRT_2.to_bits();
    // The exponent grows where the mantissa passes √½.
    let shifted = w.to_bits() + ((1023 << 52) - least);
    let m = f64::from_bits((shifted & MANTISSA) + least);
    let e = f64::from_bits(WHOLE | (shifted >> 52)) - (f64::from_bits(WHOLE) + 1023.0);
    let s = (m - 1.0) / (m + 1.0);
    let squared = s * s;
    let rest = s * squared * polynomial(&ARTANH, squared);
    e * LN_2[0] + (2.0 * s + (2.0 * rest + e * LN_2[1]))
}

/// cos 2πv for v in `[0, 1)`, within 2 ulp: 4v = q + 4r with a whole q, so that r is exact and
/// |r| ≤ ⅛, and the quarter q chooses between cosine and sine of r and their signs.
#[inline(always)]
fn cos_turns(v: f64) -> f64 {
    // Adding 1.5 · 2⁵² rounds to an integer, held by the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = 4.0 * v + ROUND;
    let q = shifted.to_bits();
    let r = v - 0.25 * (shifted - ROUND);
    let squared = r * r;
    let (sin, cos) = (r * polynomial(&SIN, squared), polynomial(&COS, squared));
    let value = if q & 1 == 1 { sin } else { cos };
    f64::from_bits(value.to_bits() ^ ((q.wrapping_add(1) & 2) << 62))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Rng};

    /// The error in units of the last place.
    fn ulps(found: f64, exact: f64) -> f64 {
        (found - exact).abs() / (f64::from_bits(exact.abs().to_bits() + 1) - exact.abs())
    }

    #[test]
    fn logarithms_everywhere() {
        let mut rng = Rng::new(Key::new(1));
        let unit = 2f64.powi(-53);
        let edges = [1.0, 1.0 - unit, 1.0 - 2.0 * unit, 0.5, 0.5 + unit, FRAC_1_SQRT_2, 0.7, 0.71];
        let powers = (1..54).map(|e| 2f64.powi(-e));
        let draws = (0..200_000).map(|i| (1.0 - rng.uniform()) * 2f64.powi(-(i % 53)));
        for w in edges.into_iter().chain(powers).chain(draws) {
            assert!(ulps(ln(w), w.ln()) <= 2.0, "ln {w}: {}, expected {}", ln(w), w.ln());
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn cosines_everywhere() {
        let mut rng = Rng::new(Key::new(2));
        for v in (0..200_000).map(|_| rng.uniform()) {
            // Relative to the distance from the next zero, which the reference's 2πv rounds away.
            let (found, exact) = (cos_turns(v), (TAU * v).cos());
            assert!((found - exact).abs() <= 2f64.powi(-52) * 6.3, "cos 2π{v}: {found}, {exact}");
            let quarter = ((4.0 * v).round() / 4.0, v - (4.0 * v).round() / 4.0);
            let near = match (4.0 * quarter.0) as i64 % 4 {
                0 => (TAU * quarter.1).cos(),
                1 => -(TAU * quarter.1).sin(),
                2 => -(TAU * quarter.1).cos(),
                _ => (TAU * quarter.1).sin(),
            };
            // Half an ulp of the reference's argument, half of its own.
            assert!(found == near || ulps(found, near) <= 3.0, "cos 2π{v}: {found}, {near}");
        }
        assert_eq!([0.0, 0.25, 0.5, 0.75].map(cos_turns), [1.0, 0.0, -1.0, 0.0]);
        assert_eq!([0.125, 0.625].map(|v| cos_turns(v) as f32), [0.707_106_77, -0.707_106_77]);
    }
}
