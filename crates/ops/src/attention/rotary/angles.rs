//! Sines and cosines of many angles.

use ff_kernels::Float;

/// A type with sine and cosine.
pub(super) trait Angles: Float {
    /// cos and sin of position · freq, times `scale`; the sine also times `sense`.
    fn angles(
        position: f64,
        freqs: &[f64],
        scale: f64,
        sense: f64,
        cos: &mut [Self],
        sin: &mut [Self],
    );
}

impl Angles for f64 {
    #[inline(always)]
    fn angles(
        position: f64,
        freqs: &[f64],
        scale: f64,
        sense: f64,
        cos: &mut [Self],
        sin: &mut [Self],
    ) {
        for ((&freq, cos), sin) in freqs.iter().zip(cos).zip(sin) {
            let angle = position * freq;
            *cos = angle.cos() * scale;
            *sin = angle.sin() * scale * sense;
        }
    }
}

/// sin r = r + r³ (…) and cos r = 1 + r² (…), their Taylor series: up to π/4, the first omitted
/// term is below 2⁻²⁸.
const SIN: [f32; 4] = [-1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362_880.0];
const COS: [f32; 5] = [-0.5, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40_320.0, -1.0 / 3_628_800.0];

impl Angles for f32 {
    /// Angles are reduced modulo a quarter turn in f64, so that even a position of a million loses
    /// no digits.
    #[inline(always)]
    fn angles(
        position: f64,
        freqs: &[f64],
        scale: f64,
        sense: f64,
        cos: &mut [Self],
        sin: &mut [Self],
    ) {
        /// 1.5 · 2⁵²: adding it rounds to an integer, held by the lowest bits.
        const ROUND: f64 = 6_755_399_441_055_744.0;
        let (scale, sense) = (scale as f32, sense as f32);
        for ((&freq, cos), sin) in freqs.iter().zip(cos).zip(sin) {
            let quarters = position * freq * std::f64::consts::FRAC_2_PI;
            let shifted = quarters + ROUND;
            let quadrant = shifted.to_bits() as u32;
            let r = ((quarters - (shifted - ROUND)) * std::f64::consts::FRAC_PI_2) as f32;
            let r2 = r * r;
            let s = r + r * r2 * (SIN[0] + r2 * (SIN[1] + r2 * (SIN[2] + r2 * SIN[3])));
            let c = COS[2] + r2 * (COS[3] + r2 * COS[4]);
            let c = 1.0 + r2 * (COS[0] + r2 * (COS[1] + r2 * c));
            // A quarter turn turns the sine into the cosine, and the cosine into the negative sine.
            let (a, b) = if quadrant & 1 == 0 { (c, s) } else { (s, c) };
            let sign = |quarter: u32| if quarter & 2 == 0 { 1.0f32 } else { -1.0 };
            *cos = a * sign(quadrant.wrapping_add(1)) * scale;
            *sin = b * sign(quadrant) * scale * sense;
        }
    }
}
