use crate::Float;
use ff_tensor::{Element, bf16};

/// A storage type of values, with the type of their computation.
///
/// ```
/// use ff_kernels::Stored;
/// use ff_tensor::bf16;
/// assert_eq!(bf16::from_compute(1.0 + 1.0 / 512.0).compute(), 1.0); // ties go to even
/// assert_eq!(0.1f32.compute(), 0.1);
/// ```
pub trait Stored: Element {
    /// The type of sums and functions.
    type Compute: Float;

    /// The value, exactly.
    fn compute(self) -> Self::Compute;
    /// The nearest value of this type; NaN stays NaN.
    fn from_compute(value: Self::Compute) -> Self;

    /// The values as those of their computation, where both are one type.
    fn as_compute(values: &[Self]) -> Option<&[Self::Compute]>;
    /// The same, to write to.
    fn as_compute_mut(values: &mut [Self]) -> Option<&mut [Self::Compute]>;
}

impl Stored for f32 {
    type Compute = f32;
    #[inline(always)]
    fn compute(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_compute(value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn as_compute(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
    #[inline(always)]
    fn as_compute_mut(values: &mut [f32]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Stored for f64 {
    type Compute = f64;
    #[inline(always)]
    fn compute(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_compute(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn as_compute(values: &[f64]) -> Option<&[f64]> {
        Some(values)
    }
    #[inline(always)]
    fn as_compute_mut(values: &mut [f64]) -> Option<&mut [f64]> {
        Some(values)
    }
}

impl Stored for bf16 {
    type Compute = f32;
    #[inline(always)]
    fn compute(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn from_compute(value: f32) -> bf16 {
        let bits = value.to_bits();
        // Rounds to nearest, ties to even; both candidates are computed and one is selected, so
        // that loops vectorise.
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet_nan = bits >> 16 | 0x40;
        bf16::from_bits((if value.is_nan() { quiet_nan } else { nearest }) as u16)
    }
    #[inline(always)]
    fn as_compute(_: &[bf16]) -> Option<&[f32]> {
        None
    }
    #[inline(always)]
    fn as_compute_mut(_: &mut [bf16]) -> Option<&mut [f32]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let special =
            [0.0f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-42];
        // Every value of the upper half, with lower halves around a tie.
        let all = (0..=u16::MAX).flat_map(|high| {
            [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff]
                .map(|low| f32::from_bits(u32::from(high) << 16 | low))
        });
        for value in all.chain(special) {
            let (ours, theirs) = (bf16::from_compute(value), bf16::from_f32(value));
            if value.is_nan() {
                assert!(ours.is_nan());
            } else {
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{value:e}");
            }
        }
    }
}
