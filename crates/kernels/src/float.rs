//! The types of computation and of storage.

use crate::maths;
use ff_tensor::{Element, bf16};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// The floating-point type of a computation: f32 in training, f64 in gradient checks.
///
/// The functions of f32 are our own, without branches or calls: loops over them vectorise where
/// [`crate::dispatch`] compiles them for an instruction set, with the same bits on each. Those of
/// f64, the reference, are the platform's.
///
/// ```
/// use ff_kernels::Float;
/// fn silu<T: Float>(x: T) -> T { x * x.sigmoid() }
/// assert_eq!(silu(0.0f32), 0.0);
/// ```
pub trait Float:
    Stored<Compute = Self>
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞.
    const NEG_INFINITY: Self;

    /// The nearest value to an f64.
    fn of(value: f64) -> Self;
    /// The same value as an f64.
    fn f64(self) -> f64;
    /// eˣ.
    fn exp(self) -> Self;
    /// eˣ for x up to 88, with the smallest values (below e⁻⁸⁷ in f32) possibly 0: the terms of a
    /// softmax.
    fn exp_weight(self) -> Self;
    /// eˣ − 1, exact near 0.
    fn exp_m1(self) -> Self;
    /// ln x.
    fn ln(self) -> Self;
    /// ln(1 + x), exact near 0.
    fn ln_1p(self) -> Self;
    /// tanh x.
    fn tanh(self) -> Self;
    /// σ(x) = 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
    /// ln(1 + eˣ), without overflow.
    fn softplus(self) -> Self;
    /// The error function, 2/√π ∫₀ˣ exp(−t²) dt.
    fn erf(self) -> Self;
    /// Φ(x) = (1 + erf(x/√2)) / 2 and φ(x) = exp(−x²/2) / √(2π) of the standard normal
    /// distribution.
    fn normal(self) -> (Self, Self);
    /// sin 2πx and cos 2πx.
    fn turn(self) -> (Self, Self);
    /// √x.
    fn sqrt(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// xⁿ for any real n.
    fn powf(self, n: Self) -> Self;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Whether the value is NaN.
    fn is_nan(self) -> bool;

    /// The greater of two values; NaN if either is NaN, unlike the standard library's `max`.
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }

    /// The smaller of two values; NaN if either is NaN.
    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }
}

/// The elementary functions of a type: the name in this trait, and the implementation.
macro_rules! float {
    ($t:ident, $($name:ident = $function:path),*; normal = $normal:path, turn = $turn:path) => {
        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }
            $(
                #[inline(always)]
                fn $name(self) -> Self {
                    $function(self)
                }
            )*
            #[inline(always)]
            fn normal(self) -> (Self, Self) {
                $normal(self)
            }
            #[inline(always)]
            fn turn(self) -> (Self, Self) {
                $turn(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn powf(self, n: Self) -> Self {
                self.powf(n)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
        }
    };
}
float!(
    f32,
    exp = maths::exp,
    exp_weight = maths::exp_weight,
    exp_m1 = maths::exp_m1,
    ln = maths::ln,
    ln_1p = maths::ln_1p,
    tanh = maths::tanh,
    sigmoid = maths::sigmoid,
    softplus = maths::softplus,
    erf = maths::erf;
    normal = maths::normal,
    turn = maths::turn
);
float!(
    f64,
    exp = f64::exp,
    exp_weight = f64::exp,
    exp_m1 = f64::exp_m1,
    ln = f64::ln,
    ln_1p = f64::ln_1p,
    tanh = f64::tanh,
    sigmoid = sigmoid,
    softplus = softplus,
    erf = libm::erf;
    normal = normal,
    turn = turn
);

/// Whole turns are left out first, which is exact.
fn turn(x: f64) -> (f64, f64) {
    (std::f64::consts::TAU * (x - x.round_ties_even())).sin_cos()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[inline(always)]
fn softplus(x: f64) -> f64 {
    Float::maximum(x, 0.0) + (-x.abs()).exp().ln_1p()
}

#[inline(always)]
fn normal(x: f64) -> (f64, f64) {
    let cumulative = 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
    (
        cumulative,
        (-0.5 * x * x).exp()
            * (std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2 / 2.0),
    )
}

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
