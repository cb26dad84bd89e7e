//! Losses over the sigmoid of each logit.

use ff_kernels::Float;

/// (−ln σ(z), −ln σ(−z)): the loss of a logit for target 1 and for target 0.
#[inline(always)]
pub(crate) fn soft_hinges<T: Float>(z: T) -> (T, T) {
    // Both share the exponential and the logarithm.
    ((-z).softplus(), z.softplus())
}

/// (σ(z), σ(−z)), both to full precision.
#[inline(always)]
pub(crate) fn sigmoids<T: Float>(z: T) -> (T, T) {
    let e = (-z.abs()).exp();
    let (more, less) = (T::ONE / (T::ONE + e), e / (T::ONE + e));
    if z < T::ZERO { (less, more) } else { (more, less) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_their_digits() {
        let (yes, no) = soft_hinges(50.0f32);
        assert_eq!(no, 50.0);
        // e⁻⁵⁰ to an f32 rounding; 1 − σ would lose it entirely.
        let exact = (-50.0f64).exp();
        assert!((f64::from(yes) / exact - 1.0).abs() < 2e-7);
        assert!((f64::from(sigmoids(50.0f32).1) / exact - 1.0).abs() < 2e-7);
        assert_eq!(sigmoids(50.0f32), (1.0, sigmoids(-50.0f32).0));
        assert_eq!(soft_hinges(f64::NEG_INFINITY), (f64::INFINITY, 0.0));
        assert_eq!(sigmoids(f64::NEG_INFINITY), (0.0, 1.0));
        assert!(sigmoids(f64::NAN).0.is_nan() && soft_hinges(f64::NAN).1.is_nan());
    }
}
