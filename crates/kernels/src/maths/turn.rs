//! sin 2πx and cos 2πx of x in turns: 4x = q + 4r with a whole q, so that r is exact and |r| ≤ ⅛,
//! and the quarter q chooses between the two functions of r and their signs.

/// sin(2πr) / r, as a polynomial in r² for |r| ≤ ⅛, with a relative error of 2⁻²⁸.
const SIN: [f32; 4] = [std::f32::consts::TAU, -41.341_66, 81.592_354, -75.393_56];
/// (cos(2πr) − 1) / r² in the same form, with an error of 2⁻³³ of the cosine.
const COS: [f32; 4] = [-19.739_208, 64.939_32, -85.443_24, 59.229_244];

/// 1.5 · 2²³: adding it rounds to an integer, held by the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// Beyond this, f32 has no fraction that matters, and x counts as whole.
const WHOLE: f32 = 1_048_576.0;

/// sin 2πx and cos 2πx within 2.2 ulp, for |x| below 2²⁰.
#[inline(always)]
pub(crate) fn turn(x: f32) -> (f32, f32) {
    // 0 for large numbers, NaN for infinite ones.
    let x = if x.abs() < WHOLE { x } else { 0.0 * x };
    let shifted = 4.0 * x + ROUND;
    let q = shifted.to_bits();
    let r = x - 0.25 * (shifted - ROUND);
    let s = r * r;
    let sin = r * ((SIN[0] + SIN[1] * s) + (s * s) * (SIN[2] + SIN[3] * s));
    let cos = 1.0 + s * ((COS[0] + COS[1] * s) + (s * s) * (COS[2] + COS[3] * s));
    let swap = q & 1 == 1;
    let signed = |v: f32, q: u32| f32::from_bits(v.to_bits() ^ ((q & 2) << 30));
    (
        signed(if swap { cos } else { sin }, q),
        signed(if swap { sin } else { cos }, q.wrapping_add(1)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_bits, sweep};
    use super::*;
    use std::f64::consts::TAU;

    fn angle(x: f64) -> f64 {
        if x.abs() < f64::from(WHOLE) { TAU * (x - x.round_ties_even()) } else { 0.0 * x }
    }

    #[test]
    fn both_everywhere() {
        // Quarters are exact, where the reference rounds π.
        let exact = |f: fn(f64) -> f64| {
            move |x: f64| if (4.0 * x).fract() == 0.0 { f(angle(x)).round() } else { f(angle(x)) }
        };
        sweep("sin", |x| turn(x).0, exact(f64::sin), 2.2);
        sweep("cos", |x| turn(x).1, exact(f64::cos), 2.2);
        assert_bits(|x| turn(x).0, &[(0.0, 0.0), (0.25, 1.0), (-0.25, -1.0), (1e30, 0.0)]);
        assert_bits(|x| turn(x).1, &[(0.0, 1.0), (0.5, -1.0), (-3.0, 1.0), (1e30, 1.0)]);
        assert!(turn(f32::INFINITY).1.is_nan() && turn(f32::NAN).0.is_nan());
    }
}
